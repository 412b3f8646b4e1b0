package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/hoststate/logs/late"
)

const (
	perSecond = 20 // events of a unit; the rest is counted
	burst     = 500
	gapEvery  = 10 * time.Second // between events that say how much was left out

	backOff    = time.Second // before journalctl is started again; doubles up to maxBackOff
	maxBackOff = time.Minute
	healthy    = time.Minute // after which an end is no longer held to be a repetition
)

// Config is which entries are followed.
type Config struct {
	Name   string   // of the watcher; default journal
	Root   string   // the host's file system; default /
	State  string   // directory for the cursor, made if need be; "" forgets it when the recorder ends
	Units  []string // names, or globs as journalctl has them: expanded when it is started; none for the kernel's entries
	Binary string   // default: journalctl, in PATH

	// Event makes an event of an entry; false leaves it out. Default: an event of the kind journal. Data and Raw are set
	// by the watcher.
	Event func(Entry) (hoststate.Event, bool)

	// Recent returns the events that this watcher emitted and that reached the timeline since then; nil if there is no
	// timeline. With it an entry is not emitted again after a crash.
	Recent func(since time.Time) iter.Seq[hoststate.Event]
}

// Watcher follows the journal.
type Watcher struct {
	cfg Config

	// what follows belongs to Run
	out   hoststate.Sink
	at    *position
	have  map[string]bool // cursors of events that the timeline has from an earlier run
	units map[string]*limit
	long  int // entries that were too long, since told
}

// limit bounds the events of a unit.
type limit struct {
	*rate.Limiter
	left int       // out since told
	told time.Time //
}

// data is Event.Data of entries.
type data struct {
	Cursor   string `json:"cursor"`
	Program  string `json:"program,omitempty"`
	Priority int    `json:"priority"`
	PID      int    `json:"pid,omitempty"`
}

// New returns a watcher of what cfg names.
func New(cfg Config) *Watcher {
	if cfg.Name == "" {
		cfg.Name = "journal"
	}
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if cfg.Binary == "" {
		cfg.Binary = "journalctl"
	}
	if cfg.Event == nil {
		cfg.Event = event
	}
	return &Watcher{cfg: cfg}
}

// Name returns Config.Name.
func (w *Watcher) Name() string { return w.cfg.Name }

func event(e Entry) (hoststate.Event, bool) {
	return hoststate.Event{Kind: "journal", Subject: e.Unit, Text: e.Program + ": " + e.Message}, true
}

// Run follows the journal until ctx is done. It returns *hoststate.Unavailable if there is no journalctl or no journal.
func (w *Watcher) Run(ctx context.Context, out hoststate.Sink) error {
	binary, err := w.available()
	if err != nil {
		return err
	}
	w.out, w.at, w.units, w.have = out, load(w.cfg.State, w.cfg.Name, time.Now()), map[string]*limit{}, nil
	if w.cfg.Recent != nil {
		w.have = stored(w.cfg.Recent(w.at.Since.Add(-late.Settle)))
	}
	w.at.flush()
	defer func() { w.at.flush() }()
	for wait := backOff; ; wait = min(2*wait, maxBackOff) {
		begun := time.Now()
		err := w.follow(ctx, binary)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begun) > healthy {
			wait = backOff
		}
		out.Blind(fmt.Sprintf("journalctl has ended and is started again in %v (%v): check that it is not older than the host's systemd", wait, err))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		out.Blind()
	}
}

// available finds journalctl and the journal.
func (w *Watcher) available() (string, error) {
	binary, err := exec.LookPath(w.cfg.Binary)
	if err != nil {
		return "", &hoststate.Unavailable{Why: "there is no journalctl in PATH", Cure: "use an image that has systemd's journalctl"}
	}
	for _, dir := range []string{"var/log/journal", "run/log/journal"} {
		if found, _ := filepath.Glob(filepath.Join(w.cfg.Root, dir, "*/*.journal")); len(found) > 0 {
			return binary, nil
		}
	}
	return "", &hoststate.Unavailable{Why: "there is no journal in /var/log/journal or /run/log/journal of " + w.cfg.Root,
		Cure: "mount the host's /var/log/journal and /run/log/journal, and let the recorder read them (as root, or in the group systemd-journal)"}
}

// arguments are those of journalctl, to go on where it was.
func (w *Watcher) arguments() []string {
	args := []string{"--follow", "--no-tail", "--quiet", "--output=json", "--output-fields=" + fields}
	if w.cfg.Root != "/" {
		args = append(args, "--root="+w.cfg.Root)
	}
	if w.at.Cursor != "" {
		args = append(args, "--after-cursor="+w.at.Cursor)
	} else {
		args = append(args, fmt.Sprintf("--since=@%d.%06d", w.at.Since.Unix(), w.at.Since.Nanosecond()/1000))
	}
	if len(w.cfg.Units) == 0 {
		return append(args, "_TRANSPORT=kernel")
	}
	for _, u := range w.cfg.Units {
		args = append(args, "--unit="+u)
	}
	return args
}

// follow runs journalctl until it ends or ctx is done.
func (w *Watcher) follow(ctx context.Context, binary string) error {
	runtime.LockOSThread() // the child dies with the thread that started it
	defer runtime.UnlockOSThread()
	c := exec.CommandContext(ctx, binary, w.arguments()...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0")
	c.WaitDelay = time.Second
	stderr := &tail{}
	c.Stderr = stderr
	stdout, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	entries := make(chan []byte, 64)
	go func() {
		defer close(entries)
		lines(stdout, func(line []byte) {
			select {
			case entries <- bytes.Clone(line):
			case <-done:
			}
		})
	}()
	w.consume(ctx, entries)
	close(done)
	for range entries { // until the reader has ended
	}
	err = c.Wait()
	return errors.Join(err, stderr.err())
}

// consume takes entries until there are no more, or ctx is done.
func (w *Watcher) consume(ctx context.Context, entries <-chan []byte) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case line, ok := <-entries:
			if !ok {
				return
			}
			w.take(line, time.Now())
		case now := <-tick.C:
			w.at.tick(now)
			w.tell(now)
		case <-ctx.Done():
			return
		}
	}
}

// take makes an event of a line of journalctl.
func (w *Watcher) take(line []byte, now time.Time) {
	if line == nil {
		w.long++
		return
	}
	e, err := parse(line)
	if err != nil {
		return
	}
	w.at.move(e.Cursor, now)
	ev, ok := w.cfg.Event(e)
	if !ok || w.have[e.Cursor] {
		return
	}
	if l := w.limit(e.Unit); !l.Allow() {
		l.left++
		return
	}
	if ev.Time.IsZero() {
		ev.Time = e.Time
	}
	ev.Text, ev.Raw = hoststate.Redact(ev.Text), hoststate.Redact(e.Message)
	ev.Data, _ = json.Marshal(data{e.Cursor, e.Program, e.Priority, e.PID}) // cannot fail
	w.out.Emit(ev)
}

// limit is that of a unit; the first hundred have one each.
func (w *Watcher) limit(unit string) *limit {
	if len(w.units) >= 100 && w.units[unit] == nil {
		unit = ""
	}
	l := w.units[unit]
	if l == nil {
		l = &limit{Limiter: rate.NewLimiter(perSecond, burst)}
		w.units[unit] = l
	}
	return l
}

// tell says how many entries were left out.
func (w *Watcher) tell(now time.Time) {
	if w.long > 0 {
		w.gap(now, "", w.long, "are longer than "+fmt.Sprint(maxEntry>>10)+" KiB")
		w.long = 0
	}
	for unit, l := range w.units {
		if l.left > 0 && now.Sub(l.told) >= gapEvery {
			w.gap(now, unit, l.left, fmt.Sprintf("are more than %d a second", perSecond))
			l.left, l.told = 0, now
		}
	}
}

func (w *Watcher) gap(now time.Time, unit string, n int, why string) {
	facts, _ := json.Marshal(map[string]any{"entries": n, "unit": unit}) // cannot fail
	w.out.Emit(hoststate.Event{Kind: "log.gap", Subject: w.cfg.Name, Time: now.UTC(), Data: facts,
		Text: fmt.Sprintf("%d entries of %s in the journal were left out: they %s", n, orAll(unit), why)})
}

func orAll(unit string) string {
	if unit == "" {
		return "no unit"
	}
	return unit
}

// tail keeps the end of what a child says of its failure.
type tail struct{ said []byte }

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(p []byte) (int, error) {
	t.said = append(t.said, p...)
	t.said = t.said[max(0, len(t.said)-512):]
	return len(p), nil
}

func (t *tail) err() error {
	if s := strings.TrimSpace(string(t.said)); s != "" {
		return errors.New(s)
	}
	return nil
}
