package hoststate

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Watch runs watchers. All methods may be called concurrently, except that Run is called once.
type Watch struct {
	out func(Event)
	log *zap.Logger

	mu   sync.Mutex
	list []*watched
}

// watched is one watcher and how it is. Status and running are guarded by Watch.mu.
type watched struct {
	watcher Watcher
	watch   *Watch
	status  WatcherStatus
	running bool // it has not returned
}

const (
	leastBackoff = time.Second // after an error or a panic; doubled each time
	mostBackoff  = time.Minute
	retryOff     = time.Minute // whether what was missing is there now
	healthy      = time.Minute // of running forget earlier failures
	proof        = time.Second // of running count as running; sooner, if it has something to say
)

// starting is why a watcher is off in its first moments.
const starting = "it is being started"

// NewWatch returns what runs the watchers and hands their events to out, which must not block.
func NewWatch(watchers []Watcher, out func(Event), log *zap.Logger) *Watch {
	w := &Watch{out: out, log: log}
	for _, one := range watchers {
		w.list = append(w.list, &watched{watcher: one, watch: w, status: WatcherStatus{Name: one.Name(), State: StateOff, Why: starting}})
	}
	return w
}

// Status returns how each watcher is, by name.
func (w *Watch) Status() []WatcherStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]WatcherStatus, 0, len(w.list))
	for _, one := range w.list {
		s := one.status
		s.Blind = slices.Clone(s.Blind)
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b WatcherStatus) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Run runs all watchers until ctx is done and every one has returned.
func (w *Watch) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, one := range w.list {
		all.Go(func() { one.keep(ctx) })
	}
	all.Wait()
	return nil
}

// keep runs one watcher again and again.
func (o *watched) keep(ctx context.Context) {
	backoff := leastBackoff
	for {
		begun := time.Now()
		err := o.run(ctx)
		if ctx.Err() != nil {
			return
		}
		pause := backoff
		var missing *Unavailable
		if errors.As(err, &missing) {
			o.down(StateOff, missing.Error())
			pause, backoff = retryOff, leastBackoff
		} else {
			if time.Since(begun) > healthy {
				pause, backoff = leastBackoff, leastBackoff
			}
			backoff = min(2*backoff, mostBackoff)
			o.down(StateFailing, err.Error())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// run calls the watcher, whose panic becomes an error.
func (o *watched) run(ctx context.Context) (err error) {
	o.watch.mu.Lock()
	o.running = true
	o.watch.mu.Unlock()
	proved := time.AfterFunc(proof, o.up)
	defer proved.Stop()
	defer func() {
		if p := recover(); p != nil {
			o.watch.log.Error("a watcher panicked", zap.String("watcher", o.watcher.Name()), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("it panicked: %v: please report this with the log", p)
		}
	}()
	if err = o.watcher.Run(ctx, o); err == nil {
		err = errors.New("it ended by itself")
	}
	return err
}

// up notes that the watcher runs: it saw something, or has not returned for a while.
func (o *watched) up() {
	w := o.watch
	w.mu.Lock()
	s := &o.status
	if s.State == StateOn || !o.running { // proof may come just when it returns
		w.mu.Unlock()
		return
	}
	if s.State == StateFailing {
		s.Restarts++
	}
	s.State, s.Why, s.Since = StateOn, "", time.Now().UTC().Round(0)
	w.mu.Unlock()
	w.out(Event{Kind: "watcher.on", Subject: s.Name, Text: s.Name + " is being watched"})
}

// down notes why the watcher does not run, and tells of it once.
func (o *watched) down(state, why string) {
	w := o.watch
	w.mu.Lock()
	old := o.status
	s := &o.status
	s.State, s.Why, s.Blind, o.running = state, why, nil, false
	if state != old.State || why != old.Why {
		s.Since = time.Now().UTC().Round(0)
	}
	w.mu.Unlock()
	if state == old.State && why == old.Why {
		return
	}
	kind, what := "watcher.off", "is off"
	if state == StateFailing {
		kind, what = "watcher.fail", "failed and is started again"
	}
	w.log.Warn("a watcher "+what+"; the others run", zap.String("watcher", old.Name), zap.String("why", why))
	w.out(Event{Kind: kind, Subject: old.Name, Text: fmt.Sprintf("%s %s: %s", old.Name, what, why)})
}

// Emit hands on what the watcher saw.
func (o *watched) Emit(e Event) {
	o.up()
	o.watch.mu.Lock()
	o.status.Events++
	o.watch.mu.Unlock()
	e.Source = o.watcher.Name()
	o.watch.out(e)
}

// Blind notes what the watcher cannot see.
func (o *watched) Blind(spots ...string) {
	o.up()
	o.watch.mu.Lock()
	defer o.watch.mu.Unlock()
	o.status.Blind = slices.Clone(spots)
}
