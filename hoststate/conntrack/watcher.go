package conntrack

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"github.com/ringside/ringside/hoststate"
)

// Watcher watches the connection tracking of the network namespace that the process is in.
//
// It emits:
//
//   - conntrack.counts for each 100 ms that had events: Counts.
//   - conntrack.new, .update, .destroy and .pickup, data Entry: destroyed flows and pick-ups of watched services, up to 500 a
//     second each and 1,000 at once; what else happens to watched services, up to 20 a second and 100 at once; and while a
//     burst lasts, losses and pick-ups of everything else, up to 50 a second and 200 at once. Counts.LeftOut says how many
//     there were beyond that.
//   - conntrack.burst twice, data Burst: with phase "begin" within 100 ms of the third loss, and with phase "end" and exact
//     numbers two seconds after the last, or after a minute. What expires is counted and is no burst.
//   - conntrack.gap when the kernel could not deliver events, data Gap, and after it a digest.
//   - conntrack.digest, data Digest: at the start, after a gap, with a drop, each five minutes, and whenever one of its
//     numbers is another by a fifth, and by ten at least.
//   - conntrack.drop, data Drop: when three flows of one dump, and a thousandth of all, are gone from the next without having
//     ended or expired. Cleaning of connections in TIME_WAIT and the like is none, whatever the number of entries does.
//
// The table is dumped each Config.Digest, or each second less than the kernel keeps a connection after its reset (9 s, unless a sysctl says
// otherwise), and at once when entries get fewer, when packets come that fit no connection, and after a gap; but never for
// more than a hundredth of a core.
type Watcher struct {
	cfg      Config
	services atomic.Pointer[[]Service]
}

var _ hoststate.Watcher = (*Watcher)(nil)

// New returns a watcher that is not running yet.
func New(cfg Config) *Watcher {
	w := &Watcher{cfg: cfg.withDefaults()}
	w.SetServices(cfg.Services)
	return w
}

// SetServices replaces the watched services, also while the watcher runs. The slice must not change afterwards.
func (w *Watcher) SetServices(services []Service) { w.services.Store(&services) }

// Name is "conntrack".
func (w *Watcher) Name() string { return "conntrack" }

// Run watches until ctx is done. It returns *hoststate.Unavailable without CAP_NET_ADMIN, or without ctnetlink in the
// kernel.
func (w *Watcher) Run(ctx context.Context, out hoststate.Sink) error {
	events, err := listen(w.cfg.Buffer)
	if err != nil {
		return err
	}
	defer events.close()
	names := newNames(w.cfg.Proc)
	flows := &flows{}
	survey := newSurvey(w, out, flows, events.port)
	reader := newReader(w, out, events, names, flows, survey)
	return together(ctx, reader.run, survey.run, names.run)
}

// together runs the parts until one of them ends, and then the others too. It returns the first error; a panic is one.
func together(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() {
			defer func() {
				if p := recover(); p != nil {
					ended <- fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			ended <- part(ctx)
		}()
	}
	var first error
	for range parts {
		if err := <-ended; first == nil {
			first = err
		}
		cancel()
	}
	return first
}

// data is an event's Data. Everything of this package has a JSON form.
func data(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
