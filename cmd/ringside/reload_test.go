package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// fakePart takes configurations and may refuse one. calls is shared, to see the order.
type fakePart[T any] struct {
	name  string
	calls *[]string
	value T
	fails error // once
}

func (f *fakePart[T]) Reconfigure(v T) error {
	*f.calls = append(*f.calls, f.name)
	if err := f.fails; err != nil {
		f.fails = nil
		return err
	}
	f.value = v
	return nil
}

type fakeNotifier struct{ upload.Notify }

func (f *fakeNotifier) Reconfigure(n upload.Notify) { f.Notify = n }

// fakeStore is told apart by its URL.
type fakeStore struct {
	upload.Store
	to string
}

type fakeOutbox struct {
	calls *[]string
	cfg   upload.Config
	store upload.Store
}

func (f *fakeOutbox) Reconfigure(c upload.Config, s upload.Store) {
	*f.calls = append(*f.calls, "upload")
	f.cfg, f.store = c, s
}
func (f *fakeOutbox) Store() upload.Store { return f.store }

// fakes is a reloader whose parts only remember.
type fakes struct {
	*reloader
	calls    []string
	capture  *fakePart[capture.Config]
	spool    *fakePart[rotate.Config]
	engine   *fakePart[trigger.Config]
	rules    *fakePart[trigger.Config]
	schedule *fakePart[trigger.Config]
	timeline fakeTimeline
	notifier *fakeNotifier
	outbox   *fakeOutbox
	services []filter.Service
	opens    error
	logs     *observer.ObservedLogs
}

func newFakes(cfg *config.Config) *fakes {
	f := &fakes{notifier: &fakeNotifier{cfg.Upload.Notify}, services: cfg.Capture.Services}
	f.capture = &fakePart[capture.Config]{name: "capture", calls: &f.calls, value: cfg.Capture}
	f.spool = &fakePart[rotate.Config]{name: "rotate", calls: &f.calls, value: cfg.Rotate}
	f.engine = &fakePart[trigger.Config]{name: "trigger", calls: &f.calls, value: cfg.Trigger}
	f.rules = &fakePart[trigger.Config]{name: "rules", calls: &f.calls, value: cfg.Trigger}
	f.schedule = &fakePart[trigger.Config]{name: "schedule", calls: &f.calls, value: cfg.Trigger}
	f.timeline = fakeTimeline{&f.calls, timelineKeep(cfg)}
	f.outbox = &fakeOutbox{&f.calls, cfg.Upload, &fakeStore{to: cfg.Upload.To}}
	core, logs := observer.New(zap.InfoLevel)
	f.logs = logs
	f.reloader = newReloader("ringside.yaml", "v0", cfg, reconfigured{
		level: zap.NewAtomicLevel(), capture: f.capture, spool: f.spool, engine: f.engine, rules: f.rules, scheduler: f.schedule, timeline: &f.timeline, notifier: f.notifier, outbox: f.outbox,
		services: func(s []filter.Service) { f.services = s },
		open: func(c upload.Config) (upload.Store, error) {
			if f.opens != nil {
				return nil, f.opens
			}
			return &fakeStore{to: c.To}, nil
		},
	}, zap.New(core))
	return f
}

// fakeTimeline has the bounds that it was last given.
type fakeTimeline struct {
	calls *[]string
	keep  hoststate.Keep
}

func (t *fakeTimeline) Reconfigure(k hoststate.Keep) {
	*t.calls = append(*t.calls, "timeline")
	t.keep = k
}

// whole fails unless exactly cfg is in force in every part.
func (f *fakes) whole(t *testing.T, cfg *config.Config) {
	t.Helper()
	got := []any{f.capture.value, f.spool.value, f.engine.value, f.outbox.cfg, f.outbox.store.(*fakeStore).to, f.notifier.Notify,
		f.services, f.parts.level.String(), f.rules.value, f.schedule.value, f.timeline.keep}
	want := []any{cfg.Capture, cfg.Rotate, cfg.Trigger, cfg.Upload, cfg.Upload.To, cfg.Upload.Notify, cfg.Capture.Services, cfg.Log.Level, cfg.Trigger, cfg.Trigger, timelineKeep(cfg)}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("in force is %+v, want %+v", got[i], want[i])
		}
	}
}

// everything is a configuration that differs from the default in every part.
func everything() *config.Config {
	c := config.Default()
	c.Log.Level = "debug"
	c.Capture.Services = c.Capture.Services[:1]
	c.Rotate.Every = 7 * time.Second
	c.Trigger.Pre = 9 * time.Second
	c.Trigger.Schedules = []trigger.Schedule{{Cron: "@daily"}}
	c.Hoststate.Keep.Bytes = 64 << 20
	c.Upload.To = "file:///elsewhere"
	c.Upload.Notify.Format = upload.FormatSlack
	return c
}

func TestReload(t *testing.T) {
	f := newFakes(config.Default())
	f.changed(everything(), "v1", nil)
	f.whole(t, everything())
	if s := f.State(); s.Error != "" || s.Hash != "v1" || s.NeedsRestart != nil || f.Stats().OK != 1 || f.Stats().Failing {
		t.Errorf("state %+v, stats %+v", s, f.Stats())
	}
	if want := []string{"upload", "capture", "trigger", "rules", "schedule", "rotate", "timeline"}; !slices.Equal(f.calls, want) {
		t.Errorf("parts were changed in the order %v, want %v", f.calls, want)
	}
	f.calls = nil
	f.changed(everything(), "v2", nil) // other text, the same meaning: no part is disturbed
	if f.calls != nil || f.State().Hash != "v2" || f.Stats().OK != 2 {
		t.Errorf("calls %v, state %+v", f.calls, f.State())
	}
	if n := f.logs.Len(); n != 2 {
		t.Errorf("%d lines in the log, want one each", n)
	}
}

// Whatever refuses, the configuration that was in force is so in all parts.
func TestReloadRefused(t *testing.T) {
	refused := errors.New("refused")
	wrong := &capture.ConfigError{Key: "capture.services", Err: refused}
	for name, refuse := range map[string]func(*fakes){
		"store":    func(f *fakes) { f.opens = refused },
		"spool":    func(f *fakes) { f.spool.fails = refused },
		"engine":   func(f *fakes) { f.engine.fails = refused },
		"rules":    func(f *fakes) { f.rules.fails = refused },
		"schedule": func(f *fakes) { f.schedule.fails = refused },
		"capture":  func(f *fakes) { f.capture.fails = fmt.Errorf("all: %w", wrong) },
		"level":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			f, next := newFakes(config.Default()), everything()
			if refuse != nil {
				refuse(f)
			} else {
				next.Log.Level = "refused"
			}
			f.changed(next, "v1", nil)
			f.whole(t, config.Default())
			if name != "spool" && slices.Contains(f.calls, "rotate") {
				t.Error("the spool was given other bounds meanwhile, by which it may have removed segments")
			}
			s := f.State()
			if !strings.Contains(s.Error, "refused") || s.Hash != "v0" || !f.Stats().Failing || f.Stats().Failed != 1 {
				t.Errorf("state %+v, stats %+v", s, f.Stats())
			}
			f.opens = nil
			f.changed(everything(), "v2", nil) // and then it is taken
			f.whole(t, everything())
			if s := f.State(); s.Error != "" || s.Hash != "v2" || f.Stats().Failing {
				t.Errorf("state %+v, stats %+v", s, f.Stats())
			}
		})
	}
}

// What cannot be taken back is said.
func TestReloadCannotGoBack(t *testing.T) {
	f := newFakes(config.Default())
	f.spool.fails = errors.New("refused")
	f.parts.capture = &stubborn{}
	f.changed(everything(), "v1", nil)
	if s := f.State(); !strings.Contains(s.Error, "refused") || !strings.Contains(s.Error, "capture: cannot go back") {
		t.Errorf("state %+v", s)
	}
}

// stubborn takes one configuration and no other.
type stubborn struct{ taken bool }

func (s *stubborn) Reconfigure(capture.Config) error {
	if s.taken {
		return errors.New("no")
	}
	s.taken = true
	return nil
}

// A bad file changes nothing, and is over when the file is good again.
func TestReloadOfABadFile(t *testing.T) {
	f := newFakes(config.Default())
	f.changed(nil, "v1", errors.New("ringside.yaml:1: log.level: loud"))
	f.whole(t, config.Default())
	if s := f.State(); s.Error != "ringside.yaml:1: log.level: loud" || s.Hash != "v0" || f.calls != nil {
		t.Errorf("state %+v, calls %v", s, f.calls)
	}
	f.changed(config.Default(), "v0", nil)
	if s := f.State(); s.Error != "" || f.Stats() != (reloads{1, 1, s.Loaded, false}) {
		t.Errorf("state %+v, stats %+v", s, f.Stats())
	}
}

// Keys that need a restart keep their values, are named, and do not keep the rest from being in force.
func TestReloadNeedsRestart(t *testing.T) {
	f, next := newFakes(config.Default()), everything()
	next.Listen, next.Hosts, next.Node, next.Upload.Node = "127.0.0.1:1", []string{"x"}, "other", "other"
	next.Capture.Ring, next.Rotate.Dir, next.Trigger.DropDir, next.TLS.Cert = 1<<30, "/elsewhere", "/drop", "/cert"
	f.changed(next, "v1", nil)
	f.whole(t, everything())
	want := []string{"node", "listen", "hosts", "tls", "capture.ring", "rotate.dir", "trigger.drop_dir"}
	if s := f.State(); !slices.Equal(s.NeedsRestart, want) {
		t.Errorf("needs a restart for %v, want %v", s.NeedsRestart, want)
	}
	f.changed(everything(), "v2", nil)
	if s := f.State(); s.NeedsRestart != nil {
		t.Errorf("needs a restart for %v, want nothing", s.NeedsRestart)
	}
}

// Every key is either live or named: none is ignored.
func TestEveryKeyIsLiveOrFixed(t *testing.T) {
	root := config.Default()
	var visit func(v reflect.Value, path string)
	leaves := 0
	visit = func(v reflect.Value, path string) {
		if v.Kind() == reflect.Struct && v.Type().PkgPath() != "time" {
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.IsExported() && f.Type.Kind() != reflect.Func {
					visit(v.Field(i), path+"."+f.Name)
				}
			}
			return
		}
		leaves++
		t.Run(path, func(t *testing.T) {
			before := reflect.New(v.Type()).Elem()
			before.Set(v)
			defer v.Set(before)
			if !alter(v) {
				t.Skipf("no other value of %s is known", v.Type())
			}
			f := newFakes(config.Default())
			f.changed(root, "v1", nil)
			if len(f.State().NeedsRestart) == 0 && f.calls == nil && f.parts.level.Level() == zap.InfoLevel {
				t.Error("it changes and nothing happens")
			}
		})
	}
	visit(reflect.ValueOf(root).Elem(), "")
	if leaves < 40 {
		t.Errorf("only %d keys found", leaves)
	}
}

// alter gives v another value.
func alter(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		v.SetString("debug") // a level too
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Float64:
		v.SetFloat(v.Float() + 1)
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem())
	default:
		return false
	}
	return true
}

// With a file and a watch, end to end: what is written is in force soon.
func TestReloaderWatches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ringside.yaml")
	if err := os.WriteFile(path, []byte("log: {level: info}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, version, err := config.LoadVersion(path)
	if err != nil {
		t.Fatal(err)
	}
	f := newFakes(cfg)
	f.file, f.state.File, f.state.Hash = path, path, version
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- f.run(ctx) }()
	if err := os.WriteFile(path, []byte("log: {level: debug}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for f.parts.level.Level() != zap.DebugLevel {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
