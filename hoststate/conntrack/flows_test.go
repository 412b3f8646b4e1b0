package conntrack

import (
	"testing"
	"time"
)

// dump hands f a dump of flows with those ids, so many seconds after begun.
func dump(f *flows, begun time.Time, after int, entries ...*Entry) missing {
	services := []Service{{Name: "postgres"}}
	at := begun.Add(time.Duration(after) * time.Second)
	first := f.begin()
	for _, e := range entries {
		f.there(e, 0, first)
	}
	return f.end(at, at, services, true)
}

func flowID(id uint32) *Entry {
	return &Entry{Protocol: 6, State: StateEstablished, Status: StatusAssured, Left: 1000, ID: id}
}

func TestMissing(t *testing.T) {
	begun := time.Now()
	closing := flowID(1)
	closing.State = 8
	ending := flowID(2)
	ending.Left = lossLeft + 5
	for _, c := range []struct {
		name         string
		events       func(*flows)
		then         []*Entry
		told, silent int
	}{
		{"all there", nil, []*Entry{flowID(1), flowID(2), flowID(3)}, 0, 0},
		{"one closing", nil, []*Entry{closing, flowID(2), flowID(3)}, 0, 0},
		{"new ones", nil, []*Entry{flowID(1), flowID(2), flowID(3), flowID(4)}, 0, 0},
		{"silent", nil, []*Entry{flowID(3)}, 0, 2},
		{"told", func(f *flows) { f.gone(1, true); f.gone(2, true) }, []*Entry{flowID(3)}, 2, 0},
		{"ended", func(f *flows) { f.gone(1, false); f.gone(2, false) }, []*Entry{flowID(3)}, 0, 0},
		{"each", func(f *flows) { f.gone(1, false); f.gone(2, true); f.gone(9, true) }, nil, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &flows{}
			if m := dump(f, begun, 0, flowID(3), flowID(1), flowID(2)); m.told+m.silent != 0 || m.older != 3 {
				t.Errorf("the first dump: %+v", m)
			}
			if c.events != nil {
				c.events(f)
			}
			m := dump(f, begun, 10, c.then...)
			if m.told != c.told || m.silent != c.silent || m.of != 3 || m.by["postgres"] != c.told+c.silent || !m.sure {
				t.Errorf("%+v, want %d told, %d silent of 3", m, c.told, c.silent)
			}
			if again := dump(f, begun, 20, c.then...); again.told+again.silent != 0 {
				t.Errorf("missed twice: %+v", again)
			}
		})
	}
	t.Run("expired", func(t *testing.T) {
		f := &flows{}
		dump(f, begun, 0, flowID(1), ending)
		if m := dump(f, begun, 10); m.silent != 1 || m.of != 1 {
			t.Errorf("%+v, want the one that could not expire", m)
		}
	})
	t.Run("events while the table is read", func(t *testing.T) {
		f := &flows{}
		dump(f, begun, 0, flowID(1), flowID(2))
		f.begin()
		f.there(flowID(1), 0, false)
		f.there(flowID(2), 0, false)
		f.gone(1, false)
		f.gone(2, true)
		if m := f.end(begun, begun.Add(10*time.Second), []Service{{Name: "postgres"}}, true); m.told+m.silent != 0 {
			t.Errorf("%+v, want none: both were there", m)
		}
		if m := dump(f, begun, 20); m.told != 1 || m.silent != 0 {
			t.Errorf("%+v, want one told", m)
		}
	})
	t.Run("a part of the table", func(t *testing.T) {
		f := &flows{}
		dump(f, begun, 0, flowID(1), flowID(2))
		f.begin()
		f.there(flowID(1), 0, false)
		if m := f.end(begun, begun.Add(10*time.Second), nil, false); m.told+m.silent != 0 {
			t.Errorf("%+v of a dump that did not end", m)
		}
		if m := dump(f, begun, 20); m.silent != 2 {
			t.Errorf("%+v, want both", m)
		}
	})
	t.Run("older ones", func(t *testing.T) {
		f := &flows{}
		dump(f, begun, 0, flowID(1), flowID(2))
		if m := dump(f, begun, 10, flowID(2), flowID(3)); m.older != 1 || m.flows != 2 {
			t.Errorf("%+v, want one of the first dump", m)
		}
		if m := dump(f, begun, 20, flowID(3)); m.older != 0 {
			t.Errorf("%+v, want none of the first dump", m)
		}
	})
}

func TestDigestDiffers(t *testing.T) {
	with := func(entries uint64, flows int) *Digest {
		return &Digest{Entries: entries, Flows: flows, States: map[string]uint64{"tcp ESTABLISHED": uint64(flows)},
			Services: map[string]ServiceDigest{"postgres": {Flows: uint64(flows)}}}
	}
	for _, c := range []struct {
		name string
		a, b *Digest
		want bool
	}{
		{"the first", with(1, 1), nil, true},
		{"the same", with(1000, 100), with(1000, 100), false},
		{"a few of few", with(9, 9), with(0, 0), false},
		{"ten of none", with(10, 0), with(0, 0), true},
		{"less than a fifth", with(1000, 100), with(1100, 110), false},
		{"a fifth", with(1000, 80), with(1000, 100), true},
	} {
		if got := c.a.differs(c.b); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
