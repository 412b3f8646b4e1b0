package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// reconfigured is the parts whose configuration changes while they run. All methods may be called beside their work.
type reconfigured struct {
	level     zap.AtomicLevel
	capture   interface{ Reconfigure(capture.Config) error }
	spool     interface{ Reconfigure(rotate.Config) error }
	timeline  interface{ Reconfigure(hoststate.Keep) }
	engine    interface{ Reconfigure(trigger.Config) error }
	rules     interface{ Reconfigure(trigger.Config) error }
	scheduler interface{ Reconfigure(trigger.Config) error }
	notifier  interface{ Reconfigure(upload.Notify) }
	outbox    interface {
		Reconfigure(upload.Config, upload.Store)
		Store() upload.Store
	}
	services func([]filter.Service)                    // what is described and watched beside the packets
	open     func(upload.Config) (upload.Store, error) // must not need the network
}

// reloader holds the configuration in force and puts newer ones into force, as a whole or not at all.
type reloader struct {
	file  string
	parts reconfigured
	log   *zap.Logger
	now   func() time.Time

	inForce *config.Config // owned by the goroutine of run

	mu    sync.Mutex
	state api.ConfigState // of inForce, and of the file if that is another
	count reloads
}

// reloads counts what was tried since the start.
type reloads struct {
	OK, Failed uint64
	Last       time.Time // when the configuration in force was put there
	Failing    bool      // the file as it is now is not in force
}

// newReloader is for a daemon that was started with cfg, read from a version of file (config.LoadVersion).
func newReloader(file, version string, cfg *config.Config, parts reconfigured, log *zap.Logger) *reloader {
	r := &reloader{file: file, parts: parts, log: log, now: time.Now, inForce: cfg}
	r.state = api.ConfigState{File: file, Hash: version, Loaded: r.now().UTC()}
	r.count.Last = r.state.Loaded
	return r
}

// run reloads when the file changes, and at SIGHUP, until ctx is done. Without a file there is nothing to do.
func (r *reloader) run(ctx context.Context) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGHUP) // without a file too: it must not end the process
	defer signal.Ignore(unix.SIGHUP)    // nor when this has failed, nor while the rest is drained
	if r.file == "" {
		<-ctx.Done()
		return nil
	}
	return config.Watch(ctx, r.file, r.state.Hash, signals, r.changed)
}

// changed takes what the file holds now.
func (r *reloader) changed(next *config.Config, version string, err error) {
	var needs []string
	if err == nil {
		needs, err = r.reload(next)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.count.Failed++
		r.count.Failing, r.state.Error = true, err.Error()
		r.log.Error("the configuration file is not in force; what was before stays", zap.String("file", r.file), zap.Error(err))
		return
	}
	r.count.OK++
	r.count.Failing, r.count.Last = false, r.now().UTC()
	r.state = api.ConfigState{File: r.file, Hash: version, Loaded: r.count.Last, NeedsRestart: needs}
	r.log.Info("the configuration was reloaded", zap.String("file", r.file), zap.String("sha256", version),
		zap.Strings("needs_restart", needs))
}

// State is for the report; nil without a file.
func (r *reloader) State() *api.ConfigState {
	if r.file == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.state
	state.NeedsRestart = slices.Clone(state.NeedsRestart)
	return &state
}

// Stats is for the metrics.
func (r *reloader) Stats() reloads {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// fixed are the keys that only a restart puts into force, and where they are.
var fixed = []struct {
	key   string
	field func(*config.Config) any // a pointer
}{
	{"cluster", func(c *config.Config) any { return &c.Cluster }},
	{"cluster", func(c *config.Config) any { return &c.Upload.Cluster }},
	{"node", func(c *config.Config) any { return &c.Node }},
	{"node", func(c *config.Config) any { return &c.Upload.Node }},
	{"listen", func(c *config.Config) any { return &c.Listen }},
	{"metrics_listen", func(c *config.Config) any { return &c.MetricsListen }},
	{"hosts", func(c *config.Config) any { return &c.Hosts }},
	{"tokens", func(c *config.Config) any { return &c.Tokens }}, // the path; what is in the file is live, as are certificates
	{"tls", func(c *config.Config) any { return &c.TLS }},
	{"socket", func(c *config.Config) any { return &c.Socket }},
	{"shutdown_timeout", func(c *config.Config) any { return &c.ShutdownTimeout }},
	{"log.format", func(c *config.Config) any { return &c.Log.Format }},
	{"capture.ring", func(c *config.Config) any { return &c.Capture.Ring }},
	{"rotate.dir", func(c *config.Config) any { return &c.Rotate.Dir }},
	{"hoststate.watch", func(c *config.Config) any { return &c.Hoststate.Watch }},
	{"hoststate.root", func(c *config.Config) any { return &c.Hoststate.Root }},
	{"hoststate.units", func(c *config.Config) any { return &c.Hoststate.Units }},
	{"hoststate.logs", func(c *config.Config) any { return &c.Hoststate.Logs }},
	{"hoststate.conntrack", func(c *config.Config) any { return &c.Hoststate.Conntrack }},
	{"detect.enable", func(c *config.Config) any { return &c.Detect.Enable }},
	{"detect.conversations", func(c *config.Config) any { return &c.Detect.Conversations }},
	{"trigger.http_rate", func(c *config.Config) any { return &c.TriggerRate }},
	{"trigger.drop_dir", func(c *config.Config) any { return &c.Trigger.DropDir }},
}

// live returns next with the fixed keys as they are in c, and those in which they differ.
func live(c, next *config.Config) (out *config.Config, needs []string) {
	out = new(*next)
	for _, f := range fixed {
		have, want := reflect.ValueOf(f.field(c)).Elem(), reflect.ValueOf(f.field(out)).Elem()
		if reflect.DeepEqual(have.Interface(), want.Interface()) {
			continue
		}
		want.Set(have)
		needs = append(needs, f.key)
	}
	return out, slices.Compact(needs)
}

// step is one part taking over what concerns it, or leaving everything as it was.
type step struct {
	name  string
	field func(*config.Config) any // what concerns it
	apply func(*config.Config) error
}

// steps are in order: what may refuse comes first, and last what cannot be taken back: segments that other bounds remove.
func (r *reloader) steps() []step {
	p := r.parts
	stores := map[*config.Config]upload.Store{r.inForce: p.outbox.Store()} // to go back to
	return []step{
		{"upload", func(c *config.Config) any { return c.Upload }, func(c *config.Config) (err error) {
			store, ok := stores[c]
			if !ok {
				if store, err = p.open(c.Upload); err != nil {
					return c.Problem("upload.to", err.Error())
				}
			}
			p.outbox.Reconfigure(c.Upload, store)
			p.notifier.Reconfigure(c.Upload.Notify)
			return nil
		}},
		{"capture", func(c *config.Config) any { return c.Capture }, func(c *config.Config) error {
			return located(c, p.capture.Reconfigure(c.Capture))
		}},
		{"trigger", func(c *config.Config) any { return c.Trigger }, func(c *config.Config) error { return p.engine.Reconfigure(c.Trigger) }},
		{"rules", func(c *config.Config) any { return c.Trigger }, func(c *config.Config) error { return p.rules.Reconfigure(c.Trigger) }},
		{"schedule", func(c *config.Config) any { return c.Trigger }, func(c *config.Config) error { return p.scheduler.Reconfigure(c.Trigger) }},
		{"services", func(c *config.Config) any { return c.Capture.Services }, func(c *config.Config) error {
			p.services(c.Capture.Services)
			return nil
		}},
		{"log", func(c *config.Config) any { return c.Log.Level }, func(c *config.Config) error {
			level, err := zapcore.ParseLevel(c.Log.Level)
			if err == nil {
				p.level.SetLevel(level)
			}
			return err
		}},
		{"rotate", func(c *config.Config) any { return c.Rotate }, func(c *config.Config) error { return p.spool.Reconfigure(c.Rotate) }},
		{"timeline", func(c *config.Config) any { return timelineKeep(c) }, func(c *config.Config) error {
			p.timeline.Reconfigure(timelineKeep(c))
			return nil
		}},
	}
}

// reload puts next into force, but for the keys it returns, which need a restart. After an error what was in force is so
// again, and the error says if a part could not be brought back.
func (r *reloader) reload(next *config.Config) (needs []string, err error) {
	next, needs = live(r.inForce, next)
	var done []step
	for _, s := range r.steps() {
		if reflect.DeepEqual(s.field(r.inForce), s.field(next)) {
			continue
		}
		if err := s.apply(next); err != nil {
			return nil, errors.Join(err, r.undo(done))
		}
		done = append(done, s)
	}
	r.inForce = next
	return needs, nil
}

func (r *reloader) undo(done []step) error {
	var errs []error
	for _, s := range slices.Backward(done) {
		if err := s.apply(r.inForce); err != nil {
			errs = append(errs, fmt.Errorf("%s: cannot go back to what was in force: %w: restart to be sure", s.name, err))
		}
	}
	return errors.Join(errs...)
}
