package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringside/ringside/rotate"
)

// TestLedgerWhenTheClockIsSetBack counts on although everything that was counted is in the future by then.
func TestLedgerWhenTheClockIsSetBack(t *testing.T) {
	l := ledger{lines: map[line]*Suppressed{}}
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for minute := range 45 {
		for n := range maxPerMinute + 10 {
			l.add(SourceHTTP, fmt.Sprint(minute, "-", n), RefusedRate, now.Add(time.Duration(minute)*time.Minute))
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.add(SourceHTTP, "after", RefusedRate, now.Add(-2*time.Hour))
		l.add(SourceHTTP, "years after", RefusedRate, now.Add(-5*365*24*time.Hour))
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the ledger does not come to an end")
	}
	if list := l.list(); len(list) > 2 || list[len(list)-1].Reason != "years after" {
		t.Errorf("%d lines are left: %+v", len(list), list[len(list)-1])
	}
}

// TestBudgetsWhenTheClockIsSetBack: what a journal says was years from now neither fills budgets nor is kept for years.
func TestBudgetsWhenTheClockIsSetBack(t *testing.T) {
	within(t, Config{Budget: Budget{Incidents: 2}}, func(b *bench) {
		b.stop()
		ahead := time.Now().Add(3 * 365 * 24 * time.Hour)
		for n := range 3 {
			at := ahead.Add(time.Duration(n) * time.Second)
			i := Incident{ID: NewID(at), State: StateStored, From: at, To: at, Stored: &Stored{At: at}, Pinned: 1 << 40,
				Triggers: []Trigger{{ID: NewID(at), Reason: "slow", Received: at}}}
			if err := b.journal.write(&i); err != nil {
				b.Fatal(err)
			}
		}
		b.start(Config{Budget: Budget{Incidents: 2}})
		b.accepted("slow", time.Minute, time.Second)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := b.Incidents(); len(got) != 1 {
			b.Errorf("%d incidents are kept, want the one of now", len(got))
		}
	})
}

// TestNothingJoinsWhatMayBeReady: when the change to ready failed half-way, a crash makes ready what the journal says.
func TestNothingJoinsWhatMayBeReady(t *testing.T) {
	within(t, Config{}, func(b *bench) {
		first := b.accepted("slow", time.Minute, 10*time.Second)
		open := filepath.Join(b.dir, first.ID+".open.json")
		if err := errors.Join(os.Rename(open, open+".aside"), os.Mkdir(open, 0o700), os.Mkdir(filepath.Join(open, "x"), 0o700)); err != nil {
			b.Fatal(err)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if _, err := os.Stat(filepath.Join(b.dir, first.ID+".ready.json")); err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(os.RemoveAll(open), os.Rename(open+".aside", open)); err != nil {
			b.Fatal(err)
		}
		second := b.accepted("resets", 5*time.Second, 0)
		b.stop() // killed
		b.start(Config{})
		if _, ok := b.repeated(second.ID); !ok {
			b.Errorf("%s was accepted and is forgotten", second.ID)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}

// TestWaitingIsNoClockStep: a disk that is full when a window ends makes it neither wider nor a liar.
func TestWaitingIsNoClockStep(t *testing.T) {
	within(t, Config{}, func(b *bench) {
		r := b.accepted("slow", time.Minute, 10*time.Second)
		aside := b.dir + ".aside"
		if err := errors.Join(os.Rename(b.dir, aside), os.WriteFile(b.dir, nil, 0o600)); err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := errors.Join(os.Remove(b.dir), os.Rename(aside, b.dir)); err != nil {
			b.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := b.Ready(); len(got) != 1 || len(got[0].Extensions) != 0 || !got[0].To.Equal(r.To) {
			b.Errorf("ready: %+v, want the window of %+v", got, r)
		}
	})
}

// TestChosenIDOfTomorrow: an id stays known for as long as it may be sent again, else a second incident would take the
// first one's place in the store.
func TestChosenIDOfTomorrow(t *testing.T) {
	within(t, Config{}, func(b *bench) {
		id := NewID(time.Now().Add(23 * time.Hour))
		ask := func() Receipt {
			r, err := b.Accept(b.Context(), Request{ID: id, Reason: "slow", Source: SourceHTTP})
			if err != nil {
				b.Fatal(err)
			}
			return r
		}
		first := ask()
		time.Sleep(2 * time.Minute)
		if err := b.Stored(id, Stored{At: time.Now()}); err != nil {
			b.Error(err)
		}
		time.Sleep(30 * time.Hour)
		synctest.Wait()
		if again := ask(); !again.To.Equal(first.To) {
			b.Errorf("a new incident has the id of one that is stored: %+v after %+v", again, first)
		}
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		b.has()
	})
}

// TestPinThatCouldNotBeMadeAgain: an incident is complete only once something is pinned.
func TestPinThatCouldNotBeMadeAgain(t *testing.T) {
	within(t, Config{}, func(b *bench) {
		r := b.accepted("slow", time.Minute, time.Minute)
		b.stop()
		delete(b.spool.pins, r.ID) // killed between journal and pin
		b.spool.fail = errors.New("no space")
		b.start(Config{})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if pin := b.spool.pins[r.ID]; !pin.From.Equal(r.From) || !pin.To.Equal(r.To) {
			b.Errorf("pin %+v, want the window of %+v", pin, r)
		}
		b.has(r.ID + ".ready.json")
	})
}

// TestPinWithoutAStatement: what a pin holds is kept, and what holds nothing is given up.
func TestPinWithoutAStatement(t *testing.T) {
	within(t, Config{}, func(b *bench) {
		b.stop()
		empty, full := NewID(time.Now()), NewID(time.Now().Add(time.Second))
		none := time.Unix(0, 0).UTC()
		b.spool.pins[empty] = rotate.Pin{Name: empty, From: none, To: none}
		b.spool.pins[full] = rotate.Pin{Name: full, From: none, To: none, Segments: []string{"s"}, Bytes: 1}
		b.start(Config{})
		if _, ok := b.spool.pins[empty]; ok || len(b.Ready()) != 1 {
			b.Errorf("pins %v, ready %+v", b.spool.pins, b.Ready())
		}
		at, _ := IDTime(full)
		if i := b.Ready()[0]; i.ID != full || !i.From.Before(at) || !i.To.After(at) {
			b.Errorf("ready: %+v, want a window around %v", i, at)
		}
	})
}

// TestFewWaitForTheDisk: while the disk of the spool stands still, most requests are refused at once.
func TestFewWaitForTheDisk(t *testing.T) {
	within(t, Config{Rate: 1000}, func(b *bench) {
		b.changing.Lock()
		answers := make(chan error, 3*maxWaiting)
		for range 3 * maxWaiting {
			go func() {
				_, err := b.Accept(b.Context(), Request{Reason: "slow", Source: SourceHTTP})
				answers <- err
			}()
		}
		for range 2 * maxWaiting {
			var r *Refusal
			if err := <-answers; !errors.As(err, &r) || r.Status != 503 || r.Kind != RefusedFailed {
				b.Errorf("%v, want a refusal", err)
			}
		}
		b.changing.Unlock()
		for range maxWaiting {
			if err := <-answers; err != nil {
				b.Error(err)
			}
		}
	})
}

// TestAnIncidentStaysSmall: labels are in memory and in the journal for as long as the store is away.
func TestAnIncidentStaysSmall(t *testing.T) {
	within(t, Config{Rate: 1000}, func(b *bench) {
		labels := map[string]string{}
		for n := range maxLabels {
			labels[fmt.Sprintf("label_%d", n)] = strings.Repeat("x", maxLabel)
		}
		crowded := 0
		for range 50 {
			_, err := b.Accept(b.Context(), Request{Reason: "slow", Labels: labels, Source: SourceHTTP})
			var r *Refusal
			if errors.As(err, &r) && r.Kind == RefusedCrowded {
				crowded++
			} else if err != nil {
				b.Fatal(err)
			}
		}
		text, err := json.Marshal(b.Incidents()[0])
		if err != nil || crowded == 0 || len(text) > 2*maxLabelBytes {
			b.Errorf("%d refused, %d bytes, %v", crowded, len(text), err)
		}
		b.accepted("slow", time.Second, time.Second) // without labels it may still join
	})
}

// TestJoiningCountsOnce: triggers that each make a window a little longer do not fill the budget of the day.
func TestJoiningCountsOnce(t *testing.T) {
	within(t, Config{Rate: 1000, Budget: Budget{Bytes: 10 << 30, Incidents: 100}}, func(b *bench) {
		time.Sleep(time.Minute) // the flow of 1 MiB/s is known
		for range 100 {
			b.accepted("slow", time.Minute, 5*time.Minute)
			time.Sleep(100 * time.Millisecond)
		}
		if got, most := b.Incidents()[0].Pinned, int64(2*6*60)<<20; got > most {
			b.Errorf("one incident counts for %d MiB, want at most %d", got>>20, most>>20)
		}
	})
}

// TestReasonsAreForgotten: those of a cool-down that is over are not kept for ever.
func TestReasonsAreForgotten(t *testing.T) {
	within(t, Config{Rate: 1000, Cooldown: time.Minute}, func(b *bench) {
		for n := range 100 {
			b.accepted(fmt.Sprint("reason ", n), time.Second, time.Second)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.last) != 0 {
			b.Errorf("%d reasons are kept", len(b.last))
		}
	})
}

// TestJoiningAtTheLastMoment has a trigger join, until now, while its incident is being closed: the packets up to the new end
// are waited for too.
func TestJoiningAtTheLastMoment(t *testing.T) {
	var b *bench
	joined := Receipt{}
	cfg := Config{Closing: func(context.Context, Incident) {
		if joined.ID != "" {
			return
		}
		time.Sleep(time.Second) // that of a snapshot
		joined = b.accepted("late", time.Second, 0)
	}}
	within(t, cfg, func(it *bench) {
		b = it
		first := b.accepted("first", time.Second, time.Second)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if joined.Incident != first.ID || !joined.To.After(first.To) {
			b.Fatalf("%+v did not join %+v", joined, first)
		}
		if ready := b.Ready(); len(ready) != 1 || !ready[0].To.Equal(joined.To) || !b.spool.awaited.Equal(joined.To) {
			b.Errorf("ready %+v, packets were waited for until %v, want %v", ready, b.spool.awaited, joined.To)
		}
	})
}

// TestClosingOnce: a disk that is full for a minute when a window ends is no reason to look at its end every second.
func TestClosingOnce(t *testing.T) {
	calls := 0
	within(t, Config{Closing: func(context.Context, Incident) { calls++ }}, func(b *bench) {
		b.accepted("slow", time.Minute, 10*time.Second)
		aside := b.dir + ".aside"
		if err := errors.Join(os.Rename(b.dir, aside), os.WriteFile(b.dir, nil, 0o600)); err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := errors.Join(os.Remove(b.dir), os.Rename(aside, b.dir)); err != nil {
			b.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := b.Ready(); len(got) != 1 || calls != 1 {
			b.Errorf("%d incidents are ready, and the end of it was told %d times, want once", len(got), calls)
		}
	})
}
