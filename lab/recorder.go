package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/lab/host"
)

// Recorder is the daemon in the node. Its files are in a file system in memory that only the node sees, its /run.
type Recorder struct {
	node   *host.Host
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has been waited for
	log    logBuffer
	client http.Client
}

// Places in the node. Its /run is its own, so the machine's D-Bus and services cannot be seen there.
const (
	dir       = "/run/ringside"
	config    = dir + "/config.yaml"
	socket    = dir + "/sock"
	incidents = dir + "/incidents"
	emptyRoot = dir + "/root"
)

// mergeTime is for how long the incident that a rule has opened stays open when the laboratory asks for its own: so
// they become one.
const mergeTime = 2 * time.Second

// patience bounds every wait for the recorder: it is there for a machine that is busy with other things.
const patience = 60 * time.Second

// start starts the daemon with a configuration of its own and waits until it records.
func (l *Lab) start(ctx context.Context, daemon func(ctx context.Context, config string) *exec.Cmd) error {
	r := &Recorder{node: l.Node, ended: make(chan struct{})}
	r.client.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", l.Node.Path(socket))
	}}
	written := l.Node.Do(func() error {
		return errors.Join(os.MkdirAll(emptyRoot, 0o755), os.WriteFile(config, []byte(l.yaml()), 0o600))
	})
	if written != nil {
		return fmt.Errorf("write the recorder's configuration: %w", written)
	}
	r.cmd = daemon(ctx, config)
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	if err := l.Node.Start(r.cmd); err != nil {
		return fmt.Errorf("start the recorder: %w", err)
	}
	go func() {
		defer close(r.ended)
		_ = r.cmd.Wait() // its state is in ProcessState
	}()
	l.Recorder = r
	l.onClose(r.Stop)
	return r.ready(ctx)
}

// yaml is the configuration.
func (l *Lab) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster: lab\nnode: lab\nlisten: none\nsocket: %s\nshutdown_timeout: 10s\nlog: {format: json, level: info}\n", socket)
	var interfaces, services []string
	for _, u := range l.Uplinks {
		interfaces = append(interfaces, u.Link)
	}
	interfaces = append(interfaces, `{name: "eni*", ring: shared}`) // the pods' side, as it is on a node with many
	for _, s := range l.Setup.Services {
		services = append(services, fmt.Sprintf("{name: %s, protocol: tcp, ports: [%d]}", s.Name, s.Port))
	}
	services = append(services, "dns")
	fmt.Fprintf(&b, "capture:\n  interfaces: [%s]\n  ring: 24MiB\n  services:\n    - %s\n", strings.Join(interfaces, ", "), strings.Join(services, "\n    - "))
	fmt.Fprintf(&b, "rotate: {dir: %s/spool, every: 10s, max_size: 8MiB, keep: {bytes: 256MiB, age: 1h, free: 1%%}}\n", dir)
	fmt.Fprintf(&b, "upload: {to: \"file://%s\", max_bytes: 256MiB}\n", incidents)
	fmt.Fprintf(&b, "hoststate: {root: %s, conntrack: {digest: 1s}}\n", emptyRoot)
	fmt.Fprintf(&b, "trigger:\n  pre: %v\n  post: %v\n  cooldown: 1s\n  rules:", before, l.Setup.After+mergeTime)
	if len(l.Setup.Rules) == 0 {
		b.WriteString(" []")
	}
	for _, on := range l.Setup.Rules {
		fmt.Fprintf(&b, "\n    - {on: %q}", on)
	}
	b.WriteString("\n")
	return b.String()
}

// ready waits until the recorder is ready and each watcher runs or has said that it cannot: what begins before conntrack
// is watched ends unseen.
func (r *Recorder) ready(ctx context.Context) error {
	return r.await(ctx, "is not ready", func() (bool, error) {
		status, body, err := r.ask(ctx, http.MethodGet, "/readyz?format=json", nil)
		if err != nil || status != http.StatusOK {
			return false, fmt.Errorf("readyz: %d %s %w", status, bytes.TrimSpace(body), err)
		}
		var report struct{ Watchers []hoststate.WatcherStatus }
		if err := json.Unmarshal(body, &report); err != nil {
			return false, fmt.Errorf("readyz: %s: %w", body, err)
		}
		starting := func(s hoststate.WatcherStatus) bool { return s.Since.IsZero() }
		return !slices.ContainsFunc(report.Watchers, starting), errors.New("a watcher is being started")
	})
}

// noticed waits until the timeline has an event of a kind since a time, but not for ever: whether it is there is judged
// later.
func (r *Recorder) noticed(ctx context.Context, kind string, since time.Time) error {
	limited, cancel := context.WithTimeout(ctx, patience/2)
	defer cancel()
	path := "/v1/timeline?" + url.Values{"kind": {kind}, "from": {since.Format(time.RFC3339Nano)}}.Encode()
	err := r.await(limited, "has not noticed a "+kind, func() (bool, error) {
		status, body, err := r.ask(limited, http.MethodGet, path, nil)
		if err != nil || status != http.StatusOK {
			return false, fmt.Errorf("timeline: %d %s %w", status, bytes.TrimSpace(body), err)
		}
		return len(bytes.TrimSpace(body)) > 0, nil
	})
	if limited.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// trigger asks for an incident around a fault and returns its id.
func (r *Recorder) trigger(ctx context.Context, f Fault, scenario string, pre, post time.Duration) (string, error) {
	request, err := json.Marshal(map[string]any{
		"reason": "lab: " + scenario, "at": f.At, "pre": pre.String(), "post": post.String(), "labels": map[string]string{"scenario": scenario},
	})
	if err != nil {
		return "", err
	}
	status, body, err := r.ask(ctx, http.MethodPost, "/v1/triggers", request)
	if err != nil || status != http.StatusAccepted {
		return "", fmt.Errorf("trigger: %d %s %w", status, bytes.TrimSpace(body), err)
	}
	var receipt struct{ Incident string }
	if err := json.Unmarshal(body, &receipt); err != nil {
		return "", fmt.Errorf("trigger: %s: %w", body, err)
	}
	return receipt.Incident, nil
}

func (r *Recorder) ask(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://ringside"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, answer, err
}

// bundle waits for an incident to be stored and returns its folder, as this process reaches it.
func (r *Recorder) bundle(ctx context.Context, incident string) (folder string, err error) {
	err = r.await(ctx, "has not stored incident "+incident, func() (bool, error) {
		found, _ := filepath.Glob(r.node.Path(incidents) + "/*/*/incident=" + incident + "/*/manifest.json")
		if len(found) == 0 {
			return false, nil
		}
		folder = filepath.Dir(found[0])
		return true, nil
	})
	return folder, err
}

// await polls until done, or until the recorder has ended or patience is over. what says what the recorder has not done.
func (r *Recorder) await(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%v are over", patience))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, last := done()
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-r.ended:
			return fmt.Errorf("the recorder %s: it ended: %v\n%s", what, r.cmd.ProcessState, r.log.tail())
		case <-ctx.Done():
			return fmt.Errorf("the recorder %s: %w\n%s", what, errors.Join(context.Cause(ctx), last), r.log.tail())
		}
	}
}

// Stop ends the daemon in order, or kills it after ten seconds. A second call does nothing.
func (r *Recorder) Stop() error {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-r.ended:
	case <-time.After(15 * time.Second):
		_ = r.cmd.Process.Kill()
		<-r.ended
	}
	return nil
}

// logBuffer keeps what the daemon writes, up to a bound.
type logBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *logBuffer) Write(p []byte) (int, error) {
	const bound = 8 << 20
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.text) < bound {
		b.text = append(b.text, p...)
	}
	return len(p), nil
}

func (b *logBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.text)
}

func (b *logBuffer) tail() []byte {
	text := b.bytes()
	return text[max(0, len(text)-2000):]
}
