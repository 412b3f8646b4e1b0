package upload

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// follow makes a manifest the successor of another one.
func follow(b Bundle) func(*Manifest) {
	return func(m *Manifest) { m.Previous = &Previous{b.Incident, hexSum(b.Raw)} }
}

func TestChain(t *testing.T) {
	a, _ := newArchive(t)
	store := func(hour int, node string, change ...func(*Manifest)) Bundle {
		return putBundle(t, a.store, at(time.Duration(hour)*time.Hour, node), nil, CompressionNone, change...)
	}
	b1 := store(1, "n1")
	b2 := store(2, "n1", follow(b1))
	b3 := store(3, "n1", follow(b2))
	other := store(2, "n2")
	forged := store(1, "n1", because("another"))
	fork := store(4, "n1", follow(b2))
	fresh := store(5, "n1")
	late := store(0, "n1", follow(b3), func(m *Manifest) { m.Created = b3.Manifest.Created.Add(time.Hour) }) // an older incident, stored later
	tests := []struct {
		name    string
		bundles []Bundle
		damaged []string // what each problem says
		notes   []string
	}{
		{"whole", []Bundle{b3, b2, b1, other}, nil, nil},
		{"none", nil, nil, nil},
		{"without a manifest", []Bundle{{Place: b1.Place, Problem: ErrUnfinished}}, nil, nil},
		{"stored in another order", []Bundle{b3, b2, b1, late}, nil, nil},
		{"the oldest have expired", []Bundle{b3, b2, other}, nil, []string{"not in the store"}},
		{"the oldest have expired, in the order of storing", []Bundle{late, other}, nil, []string{"not in the store"}},
		{"changed", []Bundle{b3, b2, forged}, []string{"has SHA-256"}, nil},
		{"one taken out", []Bundle{b3, b1}, []string{"is missing though older"}, nil},
		{"two follow one", []Bundle{b3, b2, b1, fork}, []string{"follows " + b2.Incident + ", as"}, nil},
		{"a chain anew", []Bundle{b1, fresh}, nil, []string{"begins a new chain"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var c Chain
			for _, b := range test.bundles {
				c.Add(b)
			}
			var damaged, notes []string
			for _, err := range c.Check() {
				if errors.Is(err, ErrDamaged) {
					damaged = append(damaged, err.Error())
				} else {
					notes = append(notes, err.Error())
				}
			}
			says := func(got, want string) bool { return strings.Contains(got, want) }
			if !slices.EqualFunc(damaged, test.damaged, says) || !slices.EqualFunc(notes, test.notes, says) {
				t.Errorf("damaged %q, notes %q; want %q, %q", damaged, notes, test.damaged, test.notes)
			}
		})
	}
}

func TestAddPrevious(t *testing.T) {
	a, dir := newArchive(t)
	b1 := putBundle(t, a.store, at(0, "n1"), nil, CompressionNone)
	b2 := putBundle(t, a.store, at(time.Hour, "n1"), nil, CompressionNone, follow(b1))
	check := func(want string) {
		t.Helper()
		var c Chain
		c.Add(b2)
		if err := a.AddPrevious(t.Context(), &c, b2); err != nil {
			t.Fatal(err)
		}
		errs := c.Check()
		if want == "" && len(errs) == 0 {
			return
		}
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%v, want %q", errs, want)
		}
	}
	check("")
	spoil(t, dir, b1.Prefix()+ManifestName, func(b []byte) []byte { return append(b, '\n') })
	check("has SHA-256")
	if err := a.Remove(t.Context(), b1.Place); err != nil {
		t.Fatal(err)
	}
	check("not in the store")
}
