package conntrack

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDropRule(t *testing.T) {
	begun := time.Now()
	for _, c := range []struct {
		name         string
		of           int
		told, silent int
		after        time.Duration // between the dumps
		gapped       bool
		want, sure   bool
	}{
		{"two", 10, 0, 2, 5 * time.Second, false, false, true},
		{"three", 10, 0, 3, 5 * time.Second, false, true, true},
		{"three of very many", 10000, 0, 3, 5 * time.Second, false, false, true},
		{"a thousandth", 10000, 0, 10, 5 * time.Second, false, true, true},
		{"told and silent", 10, 2, 1, 5 * time.Second, false, true, true},
		{"told, late", 1000, 3, 0, time.Minute, false, true, true},
		{"few, late", 1000, 0, 100, time.Minute, false, false, false},
		{"many, late", 1000, 0, 200, time.Minute, false, true, false},
		{"few, with events missing", 1000, 0, 100, 5 * time.Second, true, false, false},
		{"many, with events missing", 1000, 0, 200, 5 * time.Second, true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory()
			s := survey{out: m, dumped: begun.Add(c.after), forgets: 10 * time.Second, gapped: c.gapped}
			got := s.tellDrop(missing{of: c.of, told: c.told, silent: c.silent, by: map[string]int{"postgres": c.told + c.silent}, since: begun, sure: true})
			if got != c.want || len(m.of("conntrack.drop")) == 1 != c.want {
				t.Fatalf("a drop: %v", got)
			}
			if !got {
				return
			}
			if d := decode[Drop](t, m.of("conntrack.drop")[0]); d.Sure != c.sure || d.Flows != c.told+c.silent || d.Services["postgres"] != d.Flows {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestASampleWantsADump(t *testing.T) {
	s := survey{}
	for _, c := range []struct {
		name             string
		entries, invalid uint64
		want             bool
	}{
		{"the first", 1000, 50, false},
		{"two fewer", 998, 50, false},
		{"more", 2000, 50, false},
		{"three fewer", 1997, 50, true},
		{"some invalid packets", 1997, 56, false},
		{"more of them", 1997, 57, true},
	} {
		s.want = false
		if s.compare(sample{at: time.Now(), entries: c.entries, invalid: c.invalid}); s.want != c.want {
			t.Errorf("%s: wanted %v", c.name, s.want)
		}
	}
}

func TestBlindSpots(t *testing.T) {
	proc := fakeProc(t, "", [5]string{"1", "systemd", "1", "1", ""})
	for _, c := range []struct {
		name string
		s    *survey
		want string // "": none
	}{
		{"nothing hidden", &survey{}, ""},
		{"older ones", &survey{events: "2", table: &Digest{Older: 1}}, "nf_conntrack_events=2"},
		{"older ones that emit", &survey{events: "1", table: &Digest{Older: 1}}, ""},
		{"none older", &survey{events: "2", table: &Digest{}}, ""},
		{"a dump that failed", &survey{trouble: errors.New("oops")}, "oops"},
		{"a slow dump", &survey{took: time.Second, forgets: 10 * time.Second}, "each 1m40s only"},
		{"a part", &survey{table: &Digest{Partial: "time"}}, "nf_conntrack_max"},
		{"more than can be remembered", &survey{table: &Digest{Flows: mostFlows}}, "nf_conntrack_max"},
	} {
		c.s.w, c.s.forgets = New(Config{Proc: proc}), 10*time.Second
		spots := c.s.spots()
		if got := strings.Join(spots, "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) || len(spots) > 1 {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	t.Run("another namespace", func(t *testing.T) {
		s := survey{w: New(Config{Proc: fakeProc(t, "", [5]string{"1", "systemd", "1", "9", ""})}), forgets: 10 * time.Second}
		if got := strings.Join(s.spots(), "\n"); !strings.Contains(got, "hostNetwork") {
			t.Errorf("%q", got)
		}
	})
}
