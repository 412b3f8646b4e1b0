package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

func newRunCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Record until SIGTERM or SIGINT",
		Long: "Record the services and interfaces of the configuration, or of the defaults, into the spool.\n" +
			"SIGTERM or SIGINT seals the spool and stops; a second one stops at once.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := load(path)
			if err != nil {
				return err
			}
			bound(f.cfg.Detect)
			log, level := newLogger(f.cfg.Log, os.Stderr)
			return record(stopSignals(f.cfg.ShutdownTimeout, log), f, log, level)
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file (default: the built-in defaults)")
	return cmd
}

// loaded is a configuration and where it came from.
type loaded struct {
	cfg     *config.Config
	path    string // "" for the built-in defaults
	version string // of the file
}

func load(path string) (f loaded, err error) {
	if f.path = path; path == "" {
		f.cfg, err = config.Load("")
		return f, err
	}
	f.cfg, f.version, err = config.LoadVersion(path)
	return f, err
}

// Bounds of the process beside its ring (capture.ring) and the spool's chunks (32 MiB): together they keep it within
// ring + 64 MiB while it records, and within 40 MiB more while it stores a bundle (the parts of an upload). Detection has
// memory of its own beside that, by the number of conversations. The environment (GOMEMLIMIT, GOMAXPROCS) goes first.
const (
	memoryLimit  = 64 << 20 // of the Go runtime, bytes; soft
	conversation = 1 << 10  // that detection takes for one, bytes
	gcPercent    = 50
	maxProcs     = 4 // readers, writer and API need no more, and must not take a large node's cores
	detectProcs  = 2 // at least, with detection: on one core the kernel decides who runs, and detection's thread gives way
)

func bound(d config.Detect) {
	if os.Getenv("GOMEMLIMIT") == "" {
		limit := int64(memoryLimit)
		if d.Enable {
			limit += int64(d.Conversations) * conversation
		}
		debug.SetMemoryLimit(limit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		n := min(runtime.GOMAXPROCS(0), maxProcs)
		if d.Enable {
			n = max(n, detectProcs)
		}
		runtime.GOMAXPROCS(n)
	}
}

// repeatWithin is how soon after the first a signal counts as the same: timeout(1) sends each twice, to the process and
// to its group.
const repeatWithin = 100 * time.Millisecond

// stopSignals returns a context that the first SIGTERM or SIGINT ends. The second ends the process, and so does timeout
// after the first: a disk may stall while the spool is still being opened. A log that nobody
// reads any more (SIGPIPE) is no reason to stop recording.
func stopSignals(timeout time.Duration, log *zap.Logger) context.Context {
	signal.Ignore(unix.SIGPIPE, unix.SIGUSR1, unix.SIGHUP) // the latter two mean something while their stages run
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		first := <-signals
		at := time.Now()
		cancel()
		log.Info("stopping: taking in what was captured and sealing the spool; a second signal stops at once",
			zap.Stringer("signal", first))
		time.AfterFunc(timeout+time.Second, func() { // supervise is given timeout
			log.Error("stopped: not done within shutdown_timeout; the next start seals the open segment")
			os.Exit(exitFailed)
		})
		second := <-signals
		for time.Since(at) < repeatWithin {
			second = <-signals
		}
		log.Error("stopped at once: packets of the last second may be missing, the next start seals the open segment",
			zap.Stringer("signal", second))
		os.Exit(exitFailed)
	}()
	return ctx
}

// record opens everything in the order of the data path and runs it until ctx is done. It is the only place where
// goroutines of the daemon begin.
func record(ctx context.Context, f loaded, log *zap.Logger, level zap.AtomicLevel) error {
	cfg := f.cfg
	spool, err := rotate.Open(cfg.Rotate, log.Named("rotate"))
	if err != nil {
		return err
	}
	unfinished := false
	defer func() {
		if !unfinished { // else somebody may still write to it
			spool.Close()
		}
	}()
	if cfg.Detect.Enable {
		spool.Tap() // shows everything that is captured from the beginning
	}
	recorder, err := capture.Open(cfg.Capture, spool, log.Named("capture"))
	if err != nil {
		return located(cfg, err)
	}
	d, err := wire(f, spool, recorder, log, level)
	if err != nil {
		recorder.Close()
		return err
	}
	announce(cfg, recorder.Status(), spool.Stats(), log)
	err = supervise(ctx, cfg.ShutdownTimeout, log, d.stages(cfg))
	unfinished = errors.Is(err, errUnfinished)
	return err
}

// parts is everything that runs.
type parts struct {
	spool     *rotate.Spool
	recorder  *capture.Capture
	host      *host
	detection *detection
	describer *describer
	engine    *trigger.Engine
	rules     *trigger.Rules
	scheduler *trigger.Scheduler
	notifier  *upload.Notifier
	outbox    *upload.Outbox
	drop      *trigger.DropDir // nil if there is none
	reloader  *reloader
	server    *api.Server
	log       *zap.Logger
}

// journalDir is the journal's directory in the spool's, whose lock protects it.
const journalDir = "incidents"

// wire opens what comes after recording.
func wire(f loaded, spool *rotate.Spool, recorder *capture.Capture, log *zap.Logger, level zap.AtomicLevel) (*parts, error) {
	cfg := f.cfg
	d := &parts{spool: spool, recorder: recorder, log: log}
	var err error
	if d.host, err = openHost(cfg, spool, func() []string { return ownRings(recorder.Status()) }, log); err != nil {
		return nil, err
	}
	d.detection = newDetection(cfg, spool, d.host.timeline.Emit, log.Named("detect"))
	d.describer = &describer{status: recorder.Status, program: recorder.Program, watchers: d.host.watch.Status, started: time.Now(), log: log}
	d.describer.configure(cfg.Capture.Services)
	if err := d.triggers(cfg); err != nil {
		return nil, err
	}
	open := func(cfg upload.Config) (upload.Store, error) {
		return upload.OpenStore(context.Background(), cfg, recorder.Dialer(net.Dialer{Timeout: storeDialTimeout}))
	}
	store, err := open(cfg.Upload)
	if err != nil {
		return nil, cfg.Problem("upload.to", err.Error())
	}
	d.notifier = upload.NewNotifier(cfg.Upload.Notify, log.Named("notify"))
	d.outbox = upload.NewOutbox(cfg.Upload, store, d.engine, spool, d.host.timeline, d.notifier, log.Named("upload"))
	d.outbox.ReportWith(bundleReporter{})
	if cfg.Trigger.DropDir != "" {
		d.drop = trigger.NewDropDir(cfg.Trigger.DropDir, d.engine.Accept, d.engine.Suppress, log.Named("drop"))
	}
	d.reloader = newReloader(f.path, f.version, cfg, reconfigured{
		level: level, capture: recorder, spool: spool, timeline: d.host.timeline, engine: d.engine, rules: d.rules, scheduler: d.scheduler,
		notifier: d.notifier, outbox: d.outbox, open: open,
		services: func(s []filter.Service) {
			d.describer.configure(s)
			d.host.setServices(s)
			d.detection.setServices(s)
		},
	}, log.Named("config"))
	if d.server, err = api.Listen(apiConfig(cfg), d.sources(), log); err != nil {
		return nil, located(cfg, err)
	}
	d.host.timeline.Listen(d.rules.Offer)
	d.host.timeline.Listen(d.host.notice)
	return d, nil
}

// triggers opens the engine, and what makes triggers of events and of the time of day.
func (d *parts) triggers(cfg *config.Config) (err error) {
	c := cfg.Trigger
	c.Dir, c.Describe = filepath.Join(d.spool.Dir(), journalDir), d.describer.describe
	d.host.lookAt(&c)
	if d.engine, err = trigger.Open(c, d.spool, d.log.Named("trigger")); err != nil {
		return err
	}
	if d.rules, err = trigger.NewRules(c, d.engine.Accept, d.engine.Suppress, d.log.Named("rules")); err != nil {
		return cfg.Problem("trigger.rules", err.Error())
	}
	if d.scheduler, err = trigger.NewScheduler(c, d.engine.Accept, d.log.Named("schedule")); err != nil {
		return cfg.Problem("trigger.schedule", err.Error())
	}
	return nil
}

// storeDialTimeout is how long a connection to the store may take to come about.
const storeDialTimeout = 10 * time.Second

// stages are stopped from last to first: the API takes no more requests, what is ready goes to the store as far as
// there is time, capture hands over its last chunks, detection looks at them, the timeline and the spool write and seal.
func (d *parts) stages(cfg *config.Config) []stage {
	drain := cfg.ShutdownTimeout / 4
	list := []stage{
		{name: "spool", run: d.spool.Run, vital: true},
		{name: "timeline", run: d.host.timeline.Run},
		{name: "detection", run: d.detection.run},
		{name: "capture", run: d.recorder.Run, vital: true},
		{name: "triggers", run: d.engine.Run},
		{name: "notifications", run: d.notifier.Run},
		{name: "outbox", run: func(ctx context.Context) error { return d.outbox.Run(ctx, drain) }},
		{name: "watchers", run: d.host.watch.Run},
		{name: "rules", run: d.rules.Run},
		{name: "schedule", run: d.scheduler.Run},
		{name: "signals", run: d.signals},
		{name: "configuration", run: d.reloader.run},
	}
	if d.drop != nil {
		list = append(list, stage{name: "drop directory", run: d.drop.Run})
	}
	return append(list, stage{name: "api", run: d.server.Run})
}

// signals makes a trigger of every SIGUSR1.
func (d *parts) signals(ctx context.Context) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR1)
	defer signal.Ignore(unix.SIGUSR1) // it must not end the process while that drains
	for {
		select {
		case <-signals:
			if _, err := d.engine.Accept(ctx, trigger.Request{Reason: "SIGUSR1", Source: trigger.SourceSignal}); err != nil {
				d.log.Warn("the trigger of a signal was refused", zap.Error(err))
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func apiConfig(cfg *config.Config) api.Config {
	return api.Config{
		Listen: unless(cfg.Listen), MetricsListen: unless(cfg.MetricsListen), Socket: cfg.Socket, Drain: cfg.ShutdownTimeout / 4,
		Hosts: cfg.Hosts, Node: cfg.Node, Tokens: cfg.Tokens, TLS: cfg.TLS, TriggerRate: cfg.TriggerRate,
	}
}

// unless turns the word for no address into none.
func unless(address string) string {
	if address == config.None {
		return ""
	}
	return address
}

// figures is where the metrics come from. The server's own exist only once it does.
func (d *parts) figures() figures {
	return figures{
		capture: d.recorder.Status, spool: d.spool.Stats, triggers: d.engine.Stats, outbox: d.outbox.Stats,
		notifier: d.notifier.Stats, reloads: d.reloader.Stats, timeline: d.host.timeline.Stats, watchers: d.host.watch.Status, rules: d.rules.Stats,
		detection: d.detection.Stats, api: func() api.Stats { return d.server.Stats() },
	}
}

func (d *parts) sources() api.Sources {
	spool := d.spool
	return api.Sources{
		Report: func() api.Report {
			r := report(d.recorder.Status(), spool.Stats(), spool.Dir())
			r.Config, r.Watchers, r.Detection = d.reloader.State(), d.host.watch.Status(), d.detection.report()
			return r
		},
		Metrics: newMetrics(d.figures()),
		Window: func(ctx context.Context, from, to time.Time) (api.Window, error) {
			w, err := spool.Window(ctx, from, to)
			if err != nil {
				return nil, err // not w: a nil *rotate.Window is no nil api.Window
			}
			return w, nil
		},
		Trigger: d.engine.Accept, Suppress: d.engine.Suppress, Incidents: d.engine.Incidents, Suppressed: d.engine.Suppressed,
		Store: d.outbox.Store, Observe: d.host.observe, Timeline: d.host.timeline.Read, Follow: d.host.timeline.Follow,
	}
}
