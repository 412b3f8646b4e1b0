package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// made returns a Taker with one section of what lines returns.
func made(lines func(context.Context) ([]section, error)) *Taker {
	k := New(Config{})
	k.sections = []reader{{[]string{"made"}, lines}}
	return k
}

func fixed(lines ...string) func(context.Context) ([]section, error) {
	return func(context.Context) ([]section, error) { return []section{{name: "made", shown: lines}}, nil }
}

// TestQuiet has quiet snapshots at the start and each ten minutes, and none within ten minutes of a disturbance.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := made(fixed("a"))
		ctx, cancel := context.WithCancel(t.Context())
		m, done := &memory{}, make(chan error, 1)
		begun := time.Now()
		go func() { done <- k.Run(ctx, m) }()
		time.Sleep(25 * time.Minute)
		k.Disturb()
		time.Sleep(2 * time.Minute)
		if !k.Request(Trigger, "id") {
			t.Error("the request was refused")
		}
		time.Sleep(24 * time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		var got []string
		for _, e := range m.seen() {
			got = append(got, fmt.Sprint(e.Subject, " ", e.Time.Sub(begun).Minutes(), " ", e.Incident))
		}
		if want := []string{"quiet 0 ", "quiet 10 ", "quiet 20 ", "trigger 27 id", "quiet 37 ", "quiet 47 "}; !slices.Equal(got, want) {
			t.Errorf("snapshots %q, want %q", got, want)
		}
	})
}

// TestDeadline has a section that takes for ever, one that fails and one that panics beside one that is there.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := made(fixed("a"))
		k.sections = append(k.sections,
			reader{[]string{"slow", "slower"}, func(ctx context.Context) ([]section, error) { <-ctx.Done(); return []section{{name: "slow"}}, nil }},
			reader{[]string{"denied"}, func(context.Context) ([]section, error) {
				return nil, &hoststate.Unavailable{Why: "no permission", Cure: "give CAP_NET_ADMIN"}
			}},
			reader{[]string{"wild"}, func(context.Context) ([]section, error) { panic("here") }})
		began := time.Now()
		e := k.Take(t.Context(), Trigger, "")
		if took := time.Since(began); took != deadline {
			t.Errorf("it took %v, want %v", took, deadline)
		}
		s := data(t, e)
		for name, want := range map[string]string{"made": "", "slow": "more than 2s", "slower": "more than 2s", "denied": "give CAP_NET_ADMIN", "wild": "panicked: here"} {
			if got := s.section(t, name).Error; !strings.Contains(got, want) || want == "" && got != "" {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if !strings.Contains(e.Text, "without slow, slower, denied, wild") || !slices.Equal(s.section(t, "made").Lines, []string{"a"}) {
			t.Errorf("%q, %+v", e.Text, s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := data(t, k.Take(ctx, Trigger, "")).section(t, "slow").Error; !strings.Contains(got, context.DeadlineExceeded.Error()) {
			t.Errorf("with a second: %q", got)
		}
	})
}

// TestOneAtATime takes several at once: no two are read at the same time, and one that is given up before its turn says so.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reading := make(chan struct{}, 1)
		k := made(func(context.Context) ([]section, error) {
			select {
			case reading <- struct{}{}:
			default:
				t.Error("two are read at once")
			}
			time.Sleep(time.Second)
			<-reading
			return []section{{name: "made"}}, nil
		})
		done := make(chan hoststate.Event, 4)
		for range 3 {
			go func() { done <- k.Take(t.Context(), Trigger, "") }()
		}
		time.Sleep(time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if e := k.Take(ctx, Trigger, "id"); e.Data != nil || !strings.Contains(e.Text, "no snapshot") || e.Incident != "id" {
			t.Errorf("given up: %+v", e)
		}
		for range 3 {
			if e := <-done; e.Data == nil {
				t.Errorf("no snapshot: %+v", e)
			}
		}
	})
}

// TestCompare holds differences against what there was.
func TestCompare(t *testing.T) {
	denied := errors.New("denied")
	for name, c := range map[string]struct {
		quiet, now section
		want       Section
	}{
		"same":           {section{shown: []string{"a", "b"}}, section{shown: []string{"a", "b"}}, Section{}},
		"changed":        {section{shown: []string{"a", "b"}}, section{shown: []string{"b", "c"}}, Section{Added: []string{"c"}, Removed: []string{"a"}}},
		"one of two":     {section{shown: []string{"a", "a"}}, section{shown: []string{"a"}}, Section{Removed: []string{"a"}}},
		"all":            {section{shown: []string{"a"}}, section{}, Section{Removed: []string{"a"}}},
		"what moves":     {section{shown: []string{"a 1 s"}, compared: []string{"a"}}, section{shown: []string{"a 2 s"}, compared: []string{"a"}}, Section{}},
		"too many":       {section{shown: []string{"a"}, total: 2}, section{shown: []string{"a"}}, Section{NotCompared: errTooMany.Error()}},
		"lacked":         {section{err: denied}, section{shown: []string{"a"}}, Section{NotCompared: "the quiet one lacks it: denied"}},
		"cannot be had":  {section{shown: []string{"a"}}, section{err: denied}, Section{}},
		"neither can be": {section{err: denied}, section{err: denied}, Section{}},
	} {
		var got Section
		got.compare(&c.now, &c.quiet, 1000)
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestBounds has far more than there is room for, of lines that grow as JSON: the data is bounded, and says what it lacks.
func TestBounds(t *testing.T) {
	const sections, lines = 8, 20_000
	make := func(mark string) *snapshot {
		s := &snapshot{began: time.Now()}
		for i := range sections {
			n := section{name: fmt.Sprint("s", i)}
			for l := range lines {
				n.shown = append(n.shown, fmt.Sprintf("%s %05d %s", mark, l, strings.Repeat("<\x01>", 10)))
			}
			n.shown = append(n.shown, strings.Repeat("é", mostLine))
			s.sections = append(s.sections, n)
		}
		return s
	}
	e := compose(make("now"), make("quiet"), Trigger)
	if len(e.Data) > mostData || len(e.Data) < mostData/8 {
		t.Errorf("%d bytes, want at most %d, and most of that used", len(e.Data), mostData)
	}
	for _, s := range data(t, e).Sections {
		if s.Total != lines+1 || len(s.Lines) == 0 || len(s.Lines)+s.LeftOut != s.Total || len(s.Added) == 0 || len(s.Removed) == 0 ||
			len(s.Added)+len(s.Removed)+s.ChangesLeftOut != 2*lines {
			t.Errorf("%s: %d lines, %d left out, of %d; %d added, %d removed, %d left out", s.Name, len(s.Lines), s.LeftOut, s.Total, len(s.Added), len(s.Removed), s.ChangesLeftOut)
		}
	}
	if fitting, left := fit([]string{strings.Repeat("é", mostLine)}, 1<<20); left != 0 || len(fitting[0]) > mostLine || !strings.HasSuffix(fitting[0], "é...") {
		t.Errorf("a long line becomes %d bytes, %d left out", len(fitting[0]), left)
	}
	if text, err := json.Marshal(compose(make("now"), nil, Quiet)); err != nil || len(text) > 2000 {
		t.Errorf("a quiet one has %d bytes, %v", len(text), err)
	}
}

// FuzzParseSocket gives any bytes to the parser of what the kernel answers.
func FuzzParseSocket(f *testing.F) {
	b := append(make([]byte, messageLen), 8, 0, 2, 0, 1, 2, 3, 4)
	b[0] = 10
	f.Add(b)
	f.Add(make([]byte, messageLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, ok := parseSocket(b); ok && (!k.local.IsValid() || k.state() == "" && k.number != 0) {
			t.Errorf("%+v", k)
		}
	})
}
