package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/rotate"
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
			cfg, err := config.Load(path)
			if err != nil {
				return err
			}
			bound()
			log := newLogger(cfg.Log, os.Stderr)
			return record(stopSignals(cfg.ShutdownTimeout, log), cfg, log)
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file (default: the built-in defaults)")
	return cmd
}

// Bounds of the process beside its ring (capture.ring) and the spool's chunks (32 MiB): together they keep it within
// ring + 64 MiB. The environment (GOMEMLIMIT, GOMAXPROCS) goes first.
const (
	memoryLimit = 24 << 20 // of the Go runtime, bytes; soft
	gcPercent   = 50
	maxProcs    = 4 // readers, writer and API need no more, and must not take a large node's cores
)

func bound() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) > maxProcs {
		runtime.GOMAXPROCS(maxProcs)
	}
}

// repeatWithin is how soon after the first a signal counts as the same: timeout(1) sends each twice, to the process and
// to its group.
const repeatWithin = 100 * time.Millisecond

// stopSignals returns a context that the first SIGTERM or SIGINT ends. The second ends the process, and so does timeout
// after the first: a disk may stall while the spool is still being opened. A log that nobody
// reads any more (SIGPIPE) is no reason to stop recording.
func stopSignals(timeout time.Duration, log *zap.Logger) context.Context {
	signal.Ignore(unix.SIGPIPE)
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

// record wires everything and runs it until ctx is done. It is the only place where goroutines of the daemon begin.
func record(ctx context.Context, cfg *config.Config, log *zap.Logger) error {
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
	recorder, err := capture.Open(cfg.Capture, spool, log.Named("capture"))
	if err != nil {
		return located(cfg, err)
	}
	server, err := api.Listen(apiConfig(cfg), sources(recorder, spool), log.Named("api"))
	if err != nil {
		recorder.Close()
		return err
	}
	announce(cfg, recorder.Status(), spool.Stats(), log)
	// Stopped from last to first: the API takes no more requests, capture hands over its last chunks, the spool writes
	// and seals them.
	err = supervise(ctx, cfg.ShutdownTimeout, log, []stage{
		{name: "spool", run: spool.Run, vital: true},
		{name: "capture", run: recorder.Run, vital: true},
		{name: "api", run: server.Run},
	})
	unfinished = errors.Is(err, errUnfinished)
	return err
}

func apiConfig(cfg *config.Config) api.Config {
	c := api.Config{Listen: cfg.Listen, Socket: cfg.Socket, Drain: cfg.ShutdownTimeout / 4}
	if c.Listen == config.None {
		c.Listen = ""
	}
	return c
}

func sources(recorder *capture.Capture, spool *rotate.Spool) api.Sources {
	return api.Sources{
		Report:  func() api.Report { return report(recorder.Status(), spool.Stats(), spool.Dir()) },
		Metrics: newMetrics(recorder.Status, spool.Stats),
		Window: func(ctx context.Context, from, to time.Time) (api.Window, error) {
			w, err := spool.Window(ctx, from, to)
			if err != nil {
				return nil, err // not w: a nil *rotate.Window is no nil api.Window
			}
			return w, nil
		},
	}
}

// located gives the errors that the configuration can cure the place of their key in the file, which capture does not know.
func located(cfg *config.Config, err error) error {
	var all config.Error
	for _, wrong := range configErrors(err) {
		var one *config.Error
		if errors.As(cfg.Problem(wrong.Key, wrong.Err.Error()), &one) {
			all.Problems = append(all.Problems, one.Problems...)
		}
	}
	if all.Problems == nil {
		return err
	}
	return &all
}

// configErrors finds what capture has joined.
func configErrors(err error) (list []*capture.ConfigError) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			list = append(list, configErrors(e)...)
		}
		return list
	}
	var one *capture.ConfigError
	if errors.As(err, &one) {
		list = append(list, one)
	}
	return list
}
