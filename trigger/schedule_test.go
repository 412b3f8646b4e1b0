package trigger

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// planOf reads a schedule of the tests.
func planOf(t testing.TB, cron, zone string) *plan {
	t.Helper()
	p := &plan{Schedule: Schedule{Cron: cron, Zone: zone}}
	var err error
	if p.spec, err = parseCron(cron); err == nil {
		err = p.setZone(zone)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestNext has the clocks of several zones changed. In Europe/Berlin 2026 they are set forward on 29 March at 2:00 (1:00 UTC), back
// on 25 October at 3:00 (1:00 UTC); in America/New_York on 8 March at 2:00 (7:00 UTC) and 1 November at 2:00 (6:00 UTC).
func TestNext(t *testing.T) {
	const berlin, newYork, lordHowe = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
	for _, c := range []struct {
		zone, cron, after string
		want              string // the runs that follow, in UTC
	}{
		{"", "30 2 * * *", "2026-03-29T00:00:00Z", "29T02:30 30T02:30"},
		{"", "@hourly", "2026-03-29T00:00:00Z", "29T01:00 29T02:00"},
		{"", "30 2 * * *", "2026-03-29T02:29:59.999999999Z", "29T02:30 30T02:30"},
		{"", "30 2 * * *", "2026-03-29T02:30:00Z", "30T02:30"},
		{berlin, "30 2 * * *", "2026-01-10T00:00:00Z", "10T01:30 11T01:30"}, // no change near

		// An hour is left out: what falls into it is due once, when it would have begun.
		{berlin, "30 2 * * *", "2026-03-28T00:00:00Z", "28T01:30 29T01:00 30T00:30 31T00:30"},
		{berlin, "0 2 * * *", "2026-03-28T12:00:00Z", "29T01:00 30T00:00"},
		{berlin, "*/20 2 * * *", "2026-03-28T12:00:00Z", "29T01:00 30T00:00 30T00:20 30T00:40 31T00:00"},
		{berlin, "0 2,3 * * *", "2026-03-28T12:00:00Z", "29T01:00 30T00:00 30T01:00"}, // 3:00 is that moment
		{berlin, "0 3 * * *", "2026-03-28T12:00:00Z", "29T01:00 30T01:00"},
		{berlin, "59 1 * * *", "2026-03-28T12:00:00Z", "29T00:59 29T23:59"},
		{berlin, "30 2 29 3 *", "2026-03-28T12:00:00Z", "29T01:00"},
		{berlin, "30 2 * * sun", "2026-03-27T12:00:00Z", "29T01:00"},
		{berlin, "30 2 * * *", "2026-03-29T01:00:00Z", "30T00:30"}, // it has just been due
		{berlin, "30 2 * * *", "2026-03-29T00:59:59Z", "29T01:00"},
		{newYork, "30 2 * * *", "2026-03-07T12:00:00Z", "08T07:00 09T06:30"},
		{newYork, "0 9-17/4 * * *", "2026-03-08T00:00:00Z", "08T13:00 08T17:00 08T21:00"},

		// An hour comes twice: what falls into it is due the first time.
		{berlin, "30 2 * * *", "2026-10-24T12:00:00Z", "25T00:30 26T01:30"},
		{berlin, "0 2 * * *", "2026-10-24T12:00:00Z", "25T00:00 26T01:00"},
		{berlin, "0 3 * * *", "2026-10-24T12:00:00Z", "25T02:00 26T02:00"}, // it comes once
		{berlin, "*/30 2 * * *", "2026-10-24T12:00:00Z", "25T00:00 25T00:30 26T01:00"},
		{berlin, "30 2 * * *", "2026-10-25T00:30:00Z", "26T01:30"},
		{berlin, "30 2 * * *", "2026-10-25T01:10:00Z", "26T01:30"}, // begun in the second one
		{berlin, "30 3 * * *", "2026-10-25T01:10:00Z", "25T02:30"},
		{newYork, "30 1 * * *", "2026-10-31T12:00:00Z", "01T05:30 02T06:30"},
		{newYork, "0 0,1,2 * * *", "2026-11-01T03:30:00Z", "01T04:00 01T05:00 01T07:00"},

		// Every hour keeps its distance.
		{berlin, "30 * * * *", "2026-03-28T23:45:00Z", "29T00:30 29T01:30 29T02:30"},
		{berlin, "*/30 * * * *", "2026-03-29T00:15:00Z", "29T00:30 29T01:00 29T01:30"},
		{berlin, "@hourly", "2026-10-24T23:30:00Z", "25T00:00 25T01:00 25T02:00"},
		{berlin, "*/15 * * * *", "2026-10-25T00:40:00Z", "25T00:45 25T01:00 25T01:15 25T01:30 25T01:45 25T02:00"},
		{newYork, "15 * 1 11 *", "2026-11-01T04:30:00Z", "01T05:15 01T06:15 01T07:15"},
		{lordHowe, "*/20 * * * *", "2026-04-04T14:30:00Z", "04T14:40 04T15:10 04T15:30 04T15:50"}, // by half an hour, at 15:00 UTC

		// Half an hour, a midnight, and a whole day that are left out.
		{lordHowe, "10 2 * * *", "2026-10-03T12:00:00Z", "03T15:30 04T15:10"},
		{"America/Sao_Paulo", "0 0 * * *", "2018-11-03T12:00:00Z", "04T03:00 05T02:00"},
		{"America/Sao_Paulo", "30 * 4 11 *", "2018-11-03T12:00:00Z", "04T03:30 04T04:30"},
		{"Pacific/Apia", "30 6 * * *", "2011-12-29T12:00:00Z", "29T16:30 30T10:00 30T16:30 31T16:30"},

		// Rare days.
		{berlin, "0 12 29 2 *", "2026-03-01T00:00:00Z", "29T11:00"},
		{berlin, "0 12 13 * fri", "2026-02-12T00:00:00Z", "13T11:00 20T11:00"}, // both given: either
	} {
		p, at := planOf(t, c.cron, c.zone), timeAt(t, c.after)
		var got []string
		for range strings.Fields(c.want) {
			next := p.next(at)
			if !next.After(at) {
				t.Fatalf("%s in %q: %v does not follow %v", c.cron, c.zone, next, at)
			}
			at = next
			got = append(got, next.UTC().Format("02T15:04"))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s in %q after %s: %s, want %s", c.cron, c.zone, c.after, text, c.want)
		}
	}
}

func timeAt(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestNextOfAYear counts: whatever the zone does, a daily schedule is due once a day, an hourly one once an hour.
func TestNextOfAYear(t *testing.T) {
	from, to := timeAt(t, "2026-01-01T00:00:00Z"), timeAt(t, "2027-01-01T00:00:00Z")
	for _, zone := range []string{"", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu", "Europe/Dublin"} {
		for cron, want := range map[string]int{"30 2 * * *": 365, "0 0 * * *": 365, "30 * * * *": 8760, "0 4,16 * * *": 730} {
			p, n := planOf(t, cron, zone), 0
			for at := p.next(from); at.Before(to); at = p.next(at) {
				n++
			}
			if off := max(n-want, want-n); off > 1 { // where the year begins depends on the zone
				t.Errorf("%s in %q: %d times in a year, want %d", cron, zone, n, want)
			}
		}
	}
}

func TestScheduleProblems(t *testing.T) {
	nothing := time.Duration(0)
	for _, c := range []struct {
		s           Schedule
		field, want string
	}{
		{Schedule{Cron: ""}, "cron", "it is empty"},
		{Schedule{Cron: "* * * *"}, "cron", "expected exactly 5 fields"},
		{Schedule{Cron: "0 30 2 * * *"}, "cron", "expected exactly 5 fields"},
		{Schedule{Cron: "61 * * * *"}, "cron", "above maximum"},
		{Schedule{Cron: "*/0 * * * *"}, "cron", "step of range"},
		{Schedule{Cron: "5-1 * * * *"}, "cron", "beyond end of range"},
		{Schedule{Cron: ", * * * *"}, "cron", "never comes"},
		{Schedule{Cron: "0 0 31 6 *"}, "cron", "never comes"},
		{Schedule{Cron: "@reboot"}, "cron", "unrecognized descriptor"},
		{Schedule{Cron: "@every 1m"}, "cron", "@every counts from the start"},
		{Schedule{Cron: "TZ=UTC"}, "cron", "a field of its own"},
		{Schedule{Cron: strings.Repeat("1,", 200) + "1 * * * *"}, "cron", "more than 256 bytes"},
		{Schedule{Cron: "@daily", Zone: "Mars/Olympus"}, "zone", `"Mars/Olympus" is no time zone`},
		{Schedule{Cron: "@daily", Zone: "../etc/passwd"}, "zone", "is no time zone"},
		{Schedule{Cron: "@daily", Reason: "a\nb"}, "reason", "line break"},
		{Schedule{Cron: "@daily", Pre: &nothing, Post: &nothing}, "post", "empty window"},
		{Schedule{Cron: "@daily", Labels: map[string]string{"": "x"}}, "labels", "a key begins"},
	} {
		if got := c.s.Problems(); len(got) != 1 || got[0].Field != c.field || !strings.Contains(got[0].Text, c.want) {
			t.Errorf("%+v: %v, want %s: %s", c.s, got, c.field, c.want)
		}
	}
	for _, s := range []Schedule{{Cron: "@yearly", Zone: "Local"}, {Cron: "0 0 29 2 *", Zone: "UTC"}, {Cron: "*/5 2-4 * jan-mar MON-fri", Zone: "Europe/Berlin"}} {
		if got := s.Problems(); got != nil {
			t.Errorf("%+v: %v", s, got)
		}
	}
}

// FuzzSchedule: whatever a schedule says, it is refused in a line, or each time follows the one before.
func FuzzSchedule(f *testing.F) {
	for _, cron := range []string{"@daily", "30 2 * * *", "*/5 2-4 1,15 * mon", "TZ=", "CRON_TZ=x 1 * * * *", "@every 1s", "0 0 29 2 *", "? ? ? ? ?"} {
		f.Add(cron, "Europe/Berlin", int64(1774742400))
	}
	f.Fuzz(func(t *testing.T, cron, zone string, at int64) {
		s := Schedule{Cron: cron, Zone: zone, Reason: "x"}
		if problems := s.Problems(); problems != nil {
			for _, p := range problems {
				if p.Text == "" || strings.ContainsAny(p.Text, "\n\r") {
					t.Fatalf("%+v: %q", s, p.Text)
				}
			}
			return
		}
		p := planOf(t, cron, zone)
		for now := range 3 {
			from := time.Unix(at%(1<<33), int64(now))
			if next := p.next(from); !next.IsZero() && !next.After(from) {
				t.Fatalf("%+v: %v does not follow %v", s, next, from)
			}
		}
	})
}

// scheduled is a scheduler in a bubble of fake time, which begins at midnight UTC of 1 January 2000.
type scheduled struct {
	*testing.T
	*Scheduler
	logs *observer.ObservedLogs

	mu    sync.Mutex
	asked []Request
}

// ask is what the scheduler asks.
func (s *scheduled) ask(_ context.Context, r Request) (Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r)
	if r.Reason == "refused" {
		return Receipt{}, errors.New("no")
	}
	return Receipt{}, r.Check(time.Now())
}

// after is what was asked when so much time has passed.
func (s *scheduled) after(d time.Duration) []Request {
	time.Sleep(d)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.asked
	s.asked = nil
	return list
}

func withSchedules(t *testing.T, cfg Config, f func(s *scheduled)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		s := &scheduled{T: t, logs: logs}
		var err error
		if s.Scheduler, err = NewScheduler(cfg, s.ask, zap.New(core)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = s.Scheduler.Run(ctx)
		}()
		synctest.Wait()
		f(s)
		cancel()
		<-ended
	})
}

// TestScheduler triggers when it is due, to the moment, and says what it is for.
func TestScheduler(t *testing.T) {
	post := 5 * time.Minute
	withSchedules(t, Config{Schedules: []Schedule{
		{Cron: "30 2 * * *", Zone: "Europe/Berlin", Reason: "nightly", Post: &post, Labels: map[string]string{"team": "shop"}},
		{Cron: "@daily"}, {Cron: "0 2 * * *", Reason: "refused"},
	}}, func(s *scheduled) {
		asked := s.after(24*time.Hour - time.Second)
		day := timeAt(t, "2000-01-01T00:00:00Z")
		want := []Request{
			{Reason: "nightly", At: day.Add(90 * time.Minute), Post: &post, Labels: map[string]string{"team": "shop"}, Source: "schedule", Client: "schedule 30 2 * * *"},
			{Reason: "refused", At: day.Add(2 * time.Hour), Source: "schedule", Client: "schedule 0 2 * * *"},
		}
		for i := range asked {
			if at, ok := IDTime(asked[i].ID); !ok || !at.Equal(asked[i].At) {
				s.Errorf("id %s at %v", asked[i].ID, asked[i].At)
			}
			asked[i].ID = ""
		}
		if !reflect.DeepEqual(asked, want) {
			s.Errorf("got  %+v\nwant %+v", asked, want)
		}
		if n := s.logs.FilterMessage("the trigger of a schedule was refused").Len(); n != 1 || s.logs.Len() != 1 {
			s.Errorf("the log has %v", s.logs.All())
		}
		if asked := s.after(time.Second); len(asked) != 1 || asked[0].Reason != "@daily" || !time.Now().Equal(asked[0].At) {
			s.Errorf("at midnight: %+v", asked)
		}
	})
}

// TestSchedulerReconfigure goes on with other schedules, and with those before if one is wrong.
func TestSchedulerReconfigure(t *testing.T) {
	withSchedules(t, Config{}, func(s *scheduled) {
		if err := s.Reconfigure(Config{Schedules: []Schedule{{Cron: "@hourly"}}}); err != nil {
			s.Fatal(err)
		}
		if err := s.Reconfigure(Config{Schedules: []Schedule{{Cron: "*/10 * * * *"}, {Cron: "never"}}}); err == nil || !strings.Contains(err.Error(), "cron: ") {
			s.Errorf("error %v", err)
		}
		if n := len(s.after(2*time.Hour + time.Minute)); n != 2 {
			s.Errorf("%d times in two hours", n)
		}
		for range 3 { // whatever is not taken yet is replaced
			if err := s.Reconfigure(Config{Schedules: []Schedule{{Cron: "*/30 * * * *"}}}); err != nil {
				s.Fatal(err)
			}
		}
		if n := len(s.after(time.Hour)); n != 2 {
			s.Errorf("%d times in another hour", n)
		}
	})
}

// TestSchedulerClock: what is due while the clock leaps is left out, and what it shows again is the same trigger.
func TestSchedulerClock(t *testing.T) {
	s := &scheduled{T: t}
	core, logs := observer.New(zap.WarnLevel)
	s.Scheduler, _ = NewScheduler(Config{}, s.ask, zap.New(core))
	p := planOf(t, "30 2 * * *", "")
	p.due = timeAt(t, "2026-11-22T02:30:00Z")
	for _, late := range []time.Duration{0, tooLate, tooLate + 1, time.Hour} {
		s.fire(t.Context(), p, p.due.Add(late))
	}
	if len(s.asked) != 2 || logs.FilterMessage("a schedule was passed over: the clock was set, or the machine slept").Len() != 2 || s.asked[0].ID != s.asked[1].ID {
		t.Errorf("%d triggers, %d lines in the log: %+v", len(s.asked), logs.Len(), s.asked)
	}
	other := planOf(t, "30 2 * * *", "Europe/Berlin")
	if other.due = p.due; other.id() == p.id() {
		t.Errorf("two schedules have the id %s", p.id())
	}
}

func ExampleSchedule() {
	s := Schedule{Cron: "30 2 * * *", Zone: "Europe/Berln"}
	fmt.Println(s.Problems())
	// Output: [zone: "Europe/Berln" is no time zone: write one such as Europe/Berlin, or UTC]
}
