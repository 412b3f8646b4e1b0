package hoststate

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/rotate"
)

// Config is where a timeline lies and what it may take.
type Config struct {
	Dir  string // created; used by no other process: it lies in the locked spool
	Keep Keep

	Pins func() []rotate.Pin // what holds events back from retention; nil for none
}

// Keep bounds what is kept. Whatever is reached first removes the oldest file.
type Keep struct {
	Bytes int64         // default 256 MiB; of what no pin needs
	Age   time.Duration // default 24 h
}

const (
	fileBytes = 4 << 20          // after which a file is sealed
	fileAge   = 10 * time.Minute // the same
	flushing  = 250 * time.Millisecond
	syncing   = 5 * time.Second
	tidying   = 10 * time.Second
	quiet     = time.Minute // between log lines of failures

	maxPending = 8 << 20 // bytes of events that wait for the disk

	prompt = time.Second // an event that is seen sooner than this is seen as it happens
)

// Timeline keeps events. All methods may be called concurrently, except that Run is called once and Listen before it.
type Timeline struct {
	cfg   Config
	log   *zap.Logger
	flush chan chan struct{}
	ended chan struct{} // closed when Run returns

	mu        sync.Mutex // guards what follows; never held over a write
	listeners []func(Event)
	keep      Keep
	seq       uint64
	pending   batch // what waits for the disk
	writing   int   // bytes that are on their way there, and come back if it does not take them
	lost      lost
	stats     Stats

	files     []file // of the goroutine of Run, once it runs, the oldest first
	live      *live  // the same; nil if nothing is being written
	number    uint64 // the same; of the last file
	continues bool   // the same; there was a file since Open
	clock     clock  // the same

	opened time.Time // from when on events are taken
	times  times     // the same
}

// Stats is what a timeline holds and has done.
type Stats struct {
	Events uint64    // taken since Open
	Lost   uint64    // since Open: they came faster than they could be written
	Bytes  int64     // of its files
	Files  int       //
	Oldest time.Time // event that is kept; zero if there is none
	Error  string    // why nothing can be written at the moment
}

// times is when something was last done, on the monotonic clock.
type times struct{ synced, tidied, complained time.Time }

// Open makes the directory if need be and takes up what a dead process left there: its last file is cut back to the last
// whole line and sealed.
func Open(cfg Config, log *zap.Logger) (*Timeline, error) {
	if cfg.Pins == nil {
		cfg.Pins = func() []rotate.Pin { return nil }
	}
	t := &Timeline{cfg: cfg, log: log, keep: cfg.Keep.withDefaults(), flush: make(chan chan struct{}), ended: make(chan struct{}), clock: newClock(), opened: time.Now()}
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("timeline: %w: check the spool's directory (rotate.dir)", err)
	}
	last, err := t.recover()
	if err != nil {
		return nil, fmt.Errorf("timeline: %w: check the spool's disk", err)
	}
	start := Event{Kind: "timeline.start", Text: "the timeline begins: nothing was kept before"}
	if !last.IsZero() {
		start.Before = last.Format(time.RFC3339Nano)
		start.Text = "the timeline goes on: nothing was kept since " + last.Format(time.RFC3339)
	}
	t.Emit(start)
	return t, nil
}

func (k Keep) withDefaults() Keep {
	if k.Bytes == 0 {
		k.Bytes = 256 << 20
	}
	if k.Age == 0 {
		k.Age = 24 * time.Hour
	}
	return k
}

// Reconfigure puts other bounds in force.
func (t *Timeline) Reconfigure(k Keep) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keep = k.withDefaults()
}

// Dir is where the timeline's files lie; OpenReader reads them.
func (t *Timeline) Dir() string { return t.cfg.Dir }

// Listen has f called with every event, in their order. f must not block and must not emit.
func (t *Timeline) Listen(f func(Event)) { t.listeners = append(t.listeners, f) }

// Emit takes an event. It never blocks: what comes faster than the disk takes it is counted, and noted as a timeline.gap.
func (t *Timeline) Emit(e Event) {
	now := time.Now().UTC().Round(0)
	e.complete(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seq++
	e.Seq = t.seq
	t.stats.Events++
	for _, f := range t.listeners {
		f(e)
	}
	if len(t.pending.lines)+t.writing > maxPending {
		t.lost.count(now)
		t.stats.Lost++
		return
	}
	t.pending.add(&e, e.line())
}

// line is the event as JSON, no longer than what readers take.
func (e Event) line() []byte {
	line, err := json.Marshal(e)
	if err != nil { // Data is no JSON
		e.Data, e.Text = nil, e.Text+" (its data is no JSON)"
		line, _ = json.Marshal(e)
	}
	if n := len(line); n >= maxLine { // a byte may be six of JSON
		e.Data, e.Raw = nil, cut(e.Raw)
		e.Subject, e.Before, e.After = cut(e.Subject), cut(e.Before), cut(e.After)
		e.Text = fmt.Sprintf("%s (of its %d bytes, most are left out)", cut(e.Text), n)
		line, _ = json.Marshal(e)
	}
	return line
}

// complete fills in what every event has, and keeps it within bounds.
func (e *Event) complete(now time.Time) {
	if e.Time.Before(leastTime) || e.Time.After(mostTime) {
		e.Time = now
	}
	e.Time = e.Time.UTC().Round(0)
	if e.Seen = now; now.Sub(e.Time).Abs() < prompt {
		e.Seen = time.Time{}
	}
	if e.Source == "" {
		e.Source = "ringside"
	}
	e.Raw = cut(e.Raw)
	if len(e.Data) > MaxData {
		e.Data, e.Text = nil, fmt.Sprintf("%s (its %d bytes of data are left out)", e.Text, len(e.Data))
	}
}

// What a clock says that counts nanoseconds; other times are no times.
var leastTime, mostTime = time.Unix(0, 0), time.Unix(0, math.MaxInt64)

// cut keeps a text to MaxRaw bytes.
func cut(s string) string {
	if len(s) > MaxRaw {
		s = strings.ToValidUTF8(s[:MaxRaw-3], "") + "..."
	}
	return s
}

// Await returns when every event that was emitted before is in the timeline's files, or ctx is done, or Run has ended.
func (t *Timeline) Await(ctx context.Context) {
	done := make(chan struct{})
	select {
	case t.flush <- done:
	case <-t.ended:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Stats returns a snapshot.
func (t *Timeline) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// Run writes what is emitted, until ctx is done; then it writes the rest and seals the last file.
func (t *Timeline) Run(ctx context.Context) error {
	defer close(t.ended)
	tick := time.NewTicker(flushing)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.turn()
		case done := <-t.flush:
			t.turn()
			close(done)
		case <-ctx.Done():
			t.Emit(Event{Kind: "timeline.stop", Text: "the recorder stops, in order"})
			t.turn()
			t.seal()
			t.publish()
			return nil
		}
	}
}

// turn writes what waits, and does what is due.
func (t *Timeline) turn() {
	if step, ok := t.clock.stepped(); ok {
		t.write() // what waits bears the earlier time
		t.seal()
		t.Emit(Event{Kind: "clock.step", Subject: step.String(), Text: fmt.Sprintf("the wall clock was set by %v", step)})
	}
	t.write()
	if t.noteLost() { // there is room for that now
		t.write()
	}
	now := time.Now()
	if t.live != nil && (t.live.size >= fileBytes || now.Sub(t.live.begun) >= fileAge) {
		t.seal()
	}
	if now.Sub(t.times.synced) >= syncing {
		t.times.synced = now
		t.sync()
	}
	if now.Sub(t.times.tidied) >= tidying {
		t.times.tidied = now
		t.retain(now)
	}
	t.publish()
}

// noteLost makes an event of what was lost, once there is room again.
func (t *Timeline) noteLost() bool {
	t.mu.Lock()
	l := t.lost
	if l.n == 0 || len(t.pending.lines) > maxPending/2 {
		t.mu.Unlock()
		return false
	}
	t.lost = lost{}
	t.mu.Unlock()
	data, _ := json.Marshal(map[string]any{"from": l.first, "to": l.last, "events": l.n}) // plain values
	t.Emit(Event{Time: l.first, Kind: "timeline.gap", Data: data, Text: l.gap().Why})
	return true
}

// write appends what waits to the live file. What cannot be written waits on.
func (t *Timeline) write() {
	t.mu.Lock()
	b := t.pending
	t.pending, t.writing = batch{}, len(b.lines)
	t.mu.Unlock()
	if b.events == 0 {
		return
	}
	err := t.begin()
	if err == nil {
		err = t.live.append(b)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writing = 0
	if t.stats.Error = ""; err == nil {
		return
	}
	t.stats.Error = err.Error()
	p := t.pending
	b.lines, b.events, b.seq = append(b.lines, p.lines...), b.events+p.events, max(b.seq, p.seq)
	b.from, b.to = earliest(b.from, p.from), later(b.to, p.to)
	t.pending = b
	if time.Since(t.times.complained) >= quiet {
		t.times.complained = time.Now()
		t.log.Error("events cannot be written; trying again", zap.Error(err), zap.String("cure", "free space on the spool's disk"))
	}
}

// begin makes sure that there is a file to write to.
func (t *Timeline) begin() (err error) {
	if t.live == nil {
		since := t.opened
		if t.continues {
			since = time.Now()
		}
		if t.live, err = create(t.cfg.Dir, t.number+1, since, t.continues); err == nil {
			t.number, t.continues = t.number+1, true
		}
	}
	return err
}

func (t *Timeline) sync() {
	if t.live != nil && t.live.dirty {
		t.live.dirty = false
		if err := unix.Fdatasync(int(t.live.f.Fd())); err != nil {
			t.log.Error("the disk did not confirm the timeline", zap.Error(err), zap.String("cure", "check the spool's disk (dmesg)"))
		}
	}
}

// seal ends the live file.
func (t *Timeline) seal() {
	if t.live == nil {
		return
	}
	until := time.Now()
	if t.Stats().Error != "" { // what happened since the last write is not in the file
		until = time.Time{}
	}
	done, err := t.live.seal(until)
	if err != nil {
		t.log.Error("a file of the timeline could not be sealed; readers read it nevertheless", zap.String("file", done.path), zap.Error(err))
	}
	t.files = append(t.files, done)
	t.live = nil
}

// publish brings the figures up to date.
func (t *Timeline) publish() {
	var bytes int64
	var oldest time.Time
	n := len(t.files)
	for _, f := range t.files {
		bytes += f.size
		oldest = earliest(oldest, f.from)
	}
	if t.live != nil {
		n++
		bytes += t.live.size
		oldest = earliest(oldest, t.live.from)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Bytes, t.stats.Files, t.stats.Oldest = bytes, n, oldest
}

// earliest is the earlier of two times, of which a zero one is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
