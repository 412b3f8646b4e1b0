package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/ringside/ringside/rotate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeSpool holds pins in memory. Every second of its past and future costs rate bytes.
type fakeSpool struct {
	pins   map[string]rotate.Pin
	oldest time.Time
	rate   int64
	keep   int64
	fail   error // of the next Pin

	awaited time.Time
}

func newFakeSpool(reach time.Duration) *fakeSpool {
	return &fakeSpool{pins: map[string]rotate.Pin{}, oldest: time.Now().Add(-reach), rate: 1 << 20, keep: 1 << 40}
}

func (s *fakeSpool) Pin(name string, from, to time.Time) (*rotate.Pin, error) {
	if err := s.fail; err != nil {
		s.fail = nil
		s.pins[name] = rotate.Pin{Name: name} // it holds what it could
		return nil, err
	}
	p := rotate.Pin{Name: name, From: from, To: to, Bytes: s.rate * int64(to.Sub(from).Seconds())}
	s.pins[name] = p
	return &p, nil
}

func (s *fakeSpool) Unpin(name string) error {
	if _, ok := s.pins[name]; !ok {
		return rotate.ErrNoPin
	}
	delete(s.pins, name)
	return nil
}

func (s *fakeSpool) Pins() (list []rotate.Pin) {
	for _, p := range s.pins {
		list = append(list, p)
	}
	return list
}

func (s *fakeSpool) Await(_ context.Context, to time.Time) { s.awaited = to }

func (s *fakeSpool) PinCost(from, to time.Time) int64 {
	end := earlier(to, time.Now())
	return s.rate * int64(max(0, end.Sub(from).Seconds()))
}

func (s *fakeSpool) PinnedTotal() (sum int64) {
	for _, p := range s.pins {
		sum += p.Bytes
	}
	return sum
}

func (s *fakeSpool) Stats() rotate.Stats {
	return rotate.Stats{Oldest: s.oldest, Newest: time.Now(), KeepBytes: s.keep, WrittenBytes: uint64(s.rate * time.Now().Unix())}
}

// bench is an engine in a bubble of fake time.
type bench struct {
	*testing.T
	*Engine
	spool *fakeSpool
	dir   string
	stop  func()
}

func within(t *testing.T, cfg Config, f func(b *bench)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		cfg.Dir = dir
		b := &bench{T: t, spool: newFakeSpool(time.Hour), dir: dir}
		b.start(cfg)
		f(b)
		b.stop()
	})
}

func (b *bench) start(cfg Config) {
	b.Helper()
	cfg.Dir = b.dir
	e, err := Open(cfg, b.spool, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = e.Run(ctx)
	}()
	b.Engine, b.stop = e, func() { cancel(); <-ended }
	synctest.Wait()
}

// ask sends a request for so much before and after now.
func (b *bench) ask(reason string, pre, post time.Duration) (Receipt, *Refusal) {
	b.Helper()
	receipt, err := b.Accept(b.Context(), Request{Reason: reason, Pre: &pre, Post: &post, Source: SourceSocket})
	var refusal *Refusal
	if err != nil && !errors.As(err, &refusal) {
		b.Fatalf("%v is no refusal", err)
	}
	return receipt, refusal
}

func (b *bench) accepted(reason string, pre, post time.Duration) Receipt {
	b.Helper()
	receipt, refusal := b.ask(reason, pre, post)
	if refusal != nil {
		b.Fatalf("%s was refused: %v", reason, refusal)
	}
	return receipt
}

func (b *bench) refused(status int, kind, reason string, pre, post time.Duration) {
	b.Helper()
	_, refusal := b.ask(reason, pre, post)
	if refusal == nil || refusal.Status != status || refusal.Kind != kind {
		b.Errorf("%s: %+v, want %d %s", reason, refusal, status, kind)
	}
}

// files returns what is in the journal.
func (b *bench) files() (names []string) {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ledgerFile {
			names = append(names, e.Name())
		}
	}
	return names
}

func (b *bench) has(files ...string) {
	b.Helper()
	if got := b.files(); !slices.Equal(got, files) {
		b.Errorf("the journal has %v, want %v", got, files)
	}
}

func TestLife(t *testing.T) {
	within(t, Config{Describe: func() json.RawMessage { return json.RawMessage(`{"version":"v1"}`) }}, func(b *bench) {
		began := time.Now()
		r := b.accepted("slow", 2*time.Minute, time.Minute)
		b.has(r.ID + ".open.json")
		pin := b.spool.pins[r.ID]
		if !pin.From.Equal(began.Add(-2*time.Minute)) || !pin.To.Equal(began.Add(time.Minute)) || r.Merged || r.Incident != r.ID {
			b.Errorf("pin %+v, receipt %+v", pin, r)
		}
		time.Sleep(time.Minute - time.Nanosecond)
		synctest.Wait()
		b.has(r.ID + ".open.json")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		b.has(r.ID + ".ready.json")
		ready := b.Ready()
		if len(ready) != 1 || string(ready[0].Recorder) != `{"version":"v1"}` || ready[0].Pinned != 180<<20 {
			b.Fatalf("ready: %+v", ready)
		}
		<-b.Changed()
		b.Failed(r.ID, errors.New("no route"), time.Now().Add(time.Second))
		if i := b.Ready()[0]; i.Attempts != 1 || i.Error != "no route" || i.Since.IsZero() {
			b.Errorf("after a failure: %+v", i)
		}
		if err := b.Stored(r.ID, Stored{At: time.Now(), Manifest: "k"}); err != nil {
			b.Error(err)
		}
		b.has(r.ID + ".stored.json")
		if len(b.spool.pins) != 0 || len(b.Ready()) != 0 || b.Incidents()[0].Error != "" {
			b.Errorf("pins %v, incidents %+v", b.spool.pins, b.Incidents())
		}
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		b.has()
	})
}

func TestMerge(t *testing.T) {
	within(t, Config{MaxWindow: 5 * time.Minute}, func(b *bench) {
		first := b.accepted("slow", 2*time.Minute, time.Minute)
		time.Sleep(30 * time.Second)
		second := b.accepted("resets", time.Minute, time.Minute)
		if second.Incident != first.ID || !second.Merged || second.ID == first.ID || second.To.Sub(first.To) != 30*time.Second {
			b.Errorf("second: %+v after %+v", second, first)
		}
		inside := b.accepted("slow", time.Second, time.Second) // the same reason, but no new incident
		i := b.Incidents()[0]
		if len(i.Triggers) != 3 || len(i.Extensions) != 1 || i.Extensions[0].Trigger != second.ID || inside.Incident != first.ID {
			b.Errorf("incident: %+v", i)
		}
		if pin := b.spool.pins[first.ID]; !pin.To.Equal(second.To) {
			b.Errorf("the pin ends at %v, want %v", pin.To, second.To)
		}
		long := b.accepted("errors", 2*time.Minute, 3*time.Minute) // together they would be longer than 5 minutes
		if long.Merged {
			b.Errorf("%+v was merged beyond max_window", long)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if ready := b.Ready(); len(ready) != 1 || ready[0].ID != first.ID {
			b.Errorf("ready: %+v", ready)
		}
		if r, err := b.Accept(b.Context(), Request{ID: second.ID}); err != nil || r.Incident != first.ID || !r.Merged {
			b.Errorf("a repeated id: %+v, %v", r, err)
		}
	})
}

func TestRefusals(t *testing.T) {
	cfg := Config{Cooldown: 5 * time.Minute, MaxWindow: 10 * time.Minute, Budget: Budget{Incidents: 3, Bytes: 600 << 20, Pinned: 500 << 20}}
	within(t, cfg, func(b *bench) {
		b.refused(400, RefusedInvalid, "long", 9*time.Minute, 2*time.Minute)
		at := time.Now().Add(-2 * time.Hour)
		_, err := b.Accept(b.Context(), Request{Reason: "old", At: at, Source: SourceHTTP})
		if err == nil || !strings.Contains(err.Error(), "the spool reaches back to") {
			b.Errorf("a window before the spool: %v", err)
		}
		r := b.accepted("slow", time.Minute, time.Second)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		b.refused(429, RefusedCooldown, "slow", time.Minute, time.Second)
		b.refused(507, RefusedPinned, "big", 460*time.Second, time.Second)
		if err := b.Stored(r.ID, Stored{At: time.Now()}); err != nil {
			b.Error(err)
		}
		b.refused(429, RefusedDaily, "big", 570*time.Second, time.Second)
		b.accepted("second", time.Second, 0)
		time.Sleep(time.Minute)
		b.accepted("third", time.Second, 0)
		time.Sleep(time.Minute)
		b.refused(429, RefusedHourly, "fourth", time.Second, 0)
		time.Sleep(time.Hour)
		b.accepted("fourth", time.Second, 0)
		got := map[string]uint64{}
		for _, s := range b.Suppressed() {
			got[s.Source+" "+s.Reason+" "+s.Kind] += s.Count
		}
		want := map[string]uint64{
			"socket  invalid": 1, "http  invalid": 1, "socket slow cooldown": 1, "socket big pinned": 1,
			"socket big bytes": 1, "socket fourth incidents": 1,
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			b.Errorf("suppressed: %v, want %v", got, want)
		}
		if s := b.Stats(); s.Accepted[SourceSocket] != 4 || s.Refused[Refused{SourceSocket, RefusedCooldown}] != 1 {
			b.Errorf("stats: %+v", s)
		}
	})
}

// TestWaitingIsBounded holds that a store which is away for long does not fill the memory.
func TestWaitingIsBounded(t *testing.T) {
	within(t, Config{Rate: 1e6, Budget: Budget{Incidents: 1 << 20}}, func(b *bench) {
		b.spool.rate = 0
		for n := range maxUnstored {
			b.accepted(fmt.Sprint(n), time.Second, 0)
			time.Sleep(2 * time.Second)
		}
		b.refused(507, RefusedPinned, "one more", time.Second, 0)
		synctest.Wait()
		if err := b.Stored(b.Ready()[0].ID, Stored{At: time.Now()}); err != nil {
			b.Error(err)
		}
		b.accepted("one more", time.Second, 0)
	})
}

func TestRate(t *testing.T) {
	within(t, Config{Rate: 10}, func(b *bench) {
		for range 10 {
			b.accepted("burst", time.Minute, time.Minute)
		}
		b.refused(429, RefusedRate, "burst", time.Minute, time.Minute)
		time.Sleep(100 * time.Millisecond)
		b.accepted("burst", time.Minute, time.Minute)
	})
}

func TestRestart(t *testing.T) {
	within(t, Config{}, func(b *bench) {
		r := b.accepted("slow", time.Minute, time.Minute)
		b.refused(400, RefusedInvalid, "none", 0, 0)
		b.stop()
		delete(b.spool.pins, r.ID) // killed between journal and pin
		time.Sleep(30 * time.Second)
		b.start(Config{})
		if pin := b.spool.pins[r.ID]; !pin.To.Equal(r.To) {
			b.Errorf("pinned again: %+v", pin)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		b.refused(429, RefusedCooldown, "slow", 0, time.Second)
		b.has(r.ID + ".ready.json")
		b.stop()
		b.start(Config{})
		<-b.Changed()
		if got := b.Ready(); len(got) != 1 || got[0].ID != r.ID {
			b.Fatalf("ready after a restart: %+v", got)
		}
		if len(b.Suppressed()) != 2 {
			b.Errorf("suppressed after restarts: %+v", b.Suppressed())
		}
		if err := b.Stored(r.ID, Stored{At: time.Now()}); err != nil {
			b.Error(err)
		}
		b.stop()
		b.spool.pins[r.ID] = rotate.Pin{Name: r.ID} // killed before the pin was given up
		b.start(Config{})
		if len(b.spool.pins) != 0 {
			b.Errorf("pins: %v", b.spool.pins)
		}
	})
}

func TestNothingIsLeftOfWhatFailed(t *testing.T) {
	within(t, Config{}, func(b *bench) {
		b.spool.fail = errors.New("no link")
		b.refused(503, RefusedFailed, "pin", time.Minute, time.Minute)
		b.has()
		if len(b.spool.pins) != 0 {
			b.Errorf("pins: %v", b.spool.pins)
		}
		b.stop()
		aside := b.dir + ".aside"
		if err := errors.Join(os.Rename(b.dir, aside), os.WriteFile(b.dir, nil, 0o600)); err != nil {
			b.Fatal(err)
		}
		b.refused(503, RefusedFailed, "journal", time.Minute, time.Minute)
		if err := errors.Join(os.Remove(b.dir), os.Rename(aside, b.dir)); err != nil {
			b.Fatal(err)
		}
		if len(b.spool.pins)+len(b.Incidents()) != 0 {
			b.Errorf("pins %v, incidents %v", b.spool.pins, b.Incidents())
		}
		b.start(Config{})
	})
}

func TestJournalAfterCrash(t *testing.T) {
	within(t, Config{}, func(b *bench) {
		r := b.accepted("slow", time.Minute, time.Second)
		open, err := os.ReadFile(filepath.Join(b.dir, r.ID+".open.json"))
		if err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		b.stop()
		lost := NewID(time.Now())
		b.spool.pins[lost] = rotate.Pin{Name: lost, From: time.Now().Add(-time.Minute), To: time.Now()}
		for name, text := range map[string]string{
			r.ID + ".open.json":         string(open),     // the rename was done, the removal was not
			r.ID + ".stored.json.tmp":   `{"id`,           // never published
			lost + ".ready.json":        "\x00\x00",       // damaged
			"..%2fetc.open.json":        `{"id":"x"}`,     // no id
			NewID(time.Now()) + ".json": `{"state": "?"}`, // no state
		} {
			if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
		}
		b.start(Config{})
		var got []string
		for _, i := range b.Ready() {
			got = append(got, i.ID+" "+i.Triggers[0].Source)
		}
		if want := []string{r.ID + " socket", lost + " recovery"}; !slices.Equal(got, want) {
			b.Errorf("ready: %v, want %v", got, want)
		}
		if left := b.files(); slices.Contains(left, r.ID+".open.json") || slices.Contains(left, r.ID+".stored.json.tmp") {
			b.Errorf("left: %v", left)
		}
	})
}

func TestFollowClock(t *testing.T) {
	within(t, Config{MaxWindow: 15 * time.Minute}, func(b *bench) {
		for _, c := range []struct {
			step     time.Duration
			from, to time.Duration // how much wider
		}{
			{time.Second, 0, 0},
			{5 * time.Minute, 0, 5 * time.Minute},
			{-5 * time.Minute, 5 * time.Minute, 0},
			{16 * time.Minute, 0, 0},
		} {
			now := time.Now()
			received := time.Now()
			i := Incident{ID: NewID(now), From: received.Add(-time.Minute), To: received.Add(time.Minute), Triggers: []Trigger{{Received: received}}}
			next := i
			b.followClock(&next, c.step)
			if next.From.Sub(i.From) != -c.from || next.To.Sub(i.To) != c.to {
				b.Errorf("a step of %v: window %v to %v wider", c.step, i.From.Sub(next.From), next.To.Sub(i.To))
			}
			if widened := c.from+c.to > 0; widened != (len(next.Extensions) == 1) {
				b.Errorf("a step of %v: extensions %+v", c.step, next.Extensions)
			}
		}
	})
}

func TestLedgerStaysSmall(t *testing.T) {
	within(t, Config{}, func(b *bench) {
		for minute := range 60 {
			for n := range 200 {
				b.Suppress(SourceHTTP, fmt.Sprint(minute, "-", n), RefusedRate)
			}
			time.Sleep(time.Minute)
		}
		lines, sum := b.Suppressed(), uint64(0)
		for _, s := range lines {
			sum += s.Count
		}
		if len(lines) > maxLines+maxPerMinute+1 || lines[0].Count+lines[1].Count == 0 {
			b.Errorf("%d lines", len(lines))
		}
		minute := slices.DeleteFunc(lines, func(s Suppressed) bool { return s.Minute != lines[0].Minute })
		sum = 0
		for _, s := range minute {
			sum += s.Count
		}
		if sum != 200 || len(minute) != maxPerMinute+1 {
			b.Errorf("the last minute has %d refusals in %d lines", sum, len(minute))
		}
	})
}
