package counters

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// Config is what the watcher needs to know. The zero value is good.
type Config struct {
	Proc     string          // where procfs is; "" is /proc
	Sys      string          // where sysfs is; "" is /sys
	Interval time.Duration   // between two readings; 0 is a second
	SpoolDir string          // on the file system whose free space is watched; "": none is
	Uplinks  func() []string // the interfaces that are told one by one; called at each reading; nil: none

	// Driver returns an interface's statistics of its driver, as ethtool -S has them (capture.DriverStatistics). It is called at each reading for uplinks
	// of EC2's driver, ena. Without it their allowances are not seen.
	Driver func(ifname string) (map[string]uint64, error)
}

// Watcher is the hoststate.Watcher "counters".
type Watcher struct{ cfg Config }

// New returns the watcher.
func New(cfg Config) *Watcher {
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	if cfg.Sys == "" {
		cfg.Sys = "/sys"
	}
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	if cfg.Uplinks == nil {
		cfg.Uplinks = func() []string { return nil }
	}
	return &Watcher{cfg}
}

// Name implements hoststate.Watcher.
func (w *Watcher) Name() string { return "counters" }

// Run implements hoststate.Watcher. It needs no capability, and is unavailable only without procfs.
func (w *Watcher) Run(ctx context.Context, out hoststate.Sink) error {
	r := newReader(w.cfg)
	tick := time.NewTicker(w.cfg.Interval)
	defer tick.Stop()
	var blind []string
	var last time.Time
	for {
		now := time.Now()
		r.read()
		if spots := r.blind(); !slices.Equal(spots, blind) || last.IsZero() {
			out.Blind(spots...)
			blind = spots
		}
		if r.nothing() {
			return &hoststate.Unavailable{Why: "no counters in " + w.cfg.Proc + "/net", Cure: "mount procfs there"}
		}
		w.tell(out, r, now, last)
		last = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// tell emits what a reading has that the one before had not.
func (w *Watcher) tell(out hoststate.Sink, r *reader, now, last time.Time) {
	e := hoststate.Event{Time: now, Kind: "counters"}
	var told map[string]uint64
	if last.IsZero() {
		e.Subject, e.Text, told = "first", "the kernel's counters at the start", r.totals()
	} else {
		told = r.changes()
		if len(told) == 0 {
			return
		}
		e.Text = sentence(told)
		if passed := now.Sub(last); passed > w.cfg.Interval*3/2 {
			told["elapsed_ms"] = uint64(passed.Milliseconds())
		}
	}
	e.Data, _ = json.Marshal(told) // a map of numbers
	out.Emit(e)
}
