package detect_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/input"
)

var update = flag.Bool("update", false, "write what is found to testdata")

// read has a detector look at a capture.
func read(t testing.TB, cfg detect.Config, paths ...string) detect.Result {
	t.Helper()
	r, err := input.Open(input.Files(paths...), input.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d := detect.New(cfg)
	for known := 0; ; {
		p, err := r.Next()
		if err != nil {
			return d.End()
		}
		for ; known < len(r.Interfaces()); known++ {
			d.Vantage(r.Interfaces()[known].Name, r.Interfaces()[known].File)
		}
		d.Packet(p)
	}
}

// TestCaptures holds what every rule finds in the captures of real faults: all of it, so that a rule that begins to speak
// where it was silent is seen.
func TestCaptures(t *testing.T) {
	paths, err := filepath.Glob("testdata/captures/*.pcapng.zst")
	if err != nil || len(paths) != 24 {
		t.Fatalf("%d captures, %v", len(paths), err)
	}
	var b strings.Builder
	for _, path := range paths {
		fmt.Fprintln(&b, strings.TrimSuffix(filepath.Base(path), ".pcapng.zst"))
		findings := read(t, detect.Config{}, path).Findings
		slices.SortFunc(findings, func(a, b detect.Finding) int { return strings.Compare(a.Rule+a.Text, b.Rule+b.Text) })
		for _, f := range findings {
			fates := map[string]int{}
			for _, w := range f.Flows {
				fates[w.Fate]++
			}
			fmt.Fprintf(&b, "    %s by %s: %s; %v\n", f.Class, f.Rule, f.Text, fates)
		}
	}
	const golden = "testdata/findings.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("go test ./detect -run TestCaptures -update, and look at the difference; found:\n%s", b.String())
	}
}

// TestOrdinary holds that what happens every day is no fault of the node: networks and servers that do not answer, ways that are
// closed for a moment, uplinks that share the work, pods that serve pods. Each of these captures was one to a rule once.
func TestOrdinary(t *testing.T) {
	paths, err := filepath.Glob("testdata/ordinary/*.pcapng.zst")
	if err != nil || len(paths) != 5 {
		t.Fatalf("%d captures, %v", len(paths), err)
	}
	for _, path := range paths {
		for _, f := range read(t, detect.Config{}, path).Findings {
			if f.Class.Node() {
				t.Errorf("%s: %s by %s: %s", filepath.Base(path), f.Class, f.Rule, f.Text)
			}
		}
	}
}

// TestOneVantage holds what is found of the node's faults where all interfaces are recorded under one name (tcpdump -i any), so
// that packets have no way: less than there is, and nothing that there is not.
func TestOneVantage(t *testing.T) {
	paths, err := filepath.Glob("testdata/captures/*.pcapng.zst")
	if err != nil || len(paths) != 24 {
		t.Fatalf("%d captures, %v", len(paths), err)
	}
	found := map[string]detect.Class{}
	for _, path := range paths {
		r, err := input.Open(input.Files(path), input.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		d := detect.New(detect.Config{})
		only := d.Vantage("any", "")
		for p, err := r.Next(); err == nil; p, err = r.Next() {
			p.Vantage = only
			d.Packet(p)
		}
		for _, f := range d.End().Findings {
			if f.Class.Node() {
				name, _, _ := strings.Cut(filepath.Base(path), "-")
				found[name] = f.Class
			}
		}
	}
	want := map[string]detect.Class{}
	for _, name := range []string{"a01", "a02", "a04", "a05", "a07", "a11", "b07", "b11"} {
		want[name] = detect.ConntrackLoss
	}
	want["d13"] = detect.ConntrackExpiry
	if !maps.Equal(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
}

// TestRulesGoneRoutedBack tells rules of translation that are gone from lost state where the network brings answers back to the
// pods' own addresses, so that new connections work.
func TestRulesGoneRoutedBack(t *testing.T) {
	found := read(t, detect.Config{}, "testdata/nat-rules-gone-routed-back.pcapng.zst").Findings
	if len(found) != 1 || found[0].Class != detect.NATRulesLoss || found[0].Count != 30 {
		t.Errorf("found %+v, want that 30 connections left untranslated", found)
	}
}

// TestCited holds that every cited packet is there, at its time and interface.
func TestCited(t *testing.T) {
	const path = "testdata/captures/a02-flush-masqrf-loose1.pcapng.zst"
	cited := map[uint64][]detect.Citation{}
	for _, f := range read(t, detect.Config{}, path).Findings {
		for _, c := range f.Citations {
			cited[c.Frame] = append(cited[c.Frame], c)
		}
	}
	r, err := input.Open(input.Files(path), input.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	met := 0
	for p, err := r.Next(); err == nil; p, err = r.Next() {
		for _, c := range cited[p.Number] {
			met++
			if c.TimeNS != p.Time || c.Interface != r.Interfaces()[p.Vantage].Name {
				t.Errorf("frame %d at %d on %s is cited as %+v", p.Number, p.Time, r.Interfaces()[p.Vantage].Name, c)
			}
		}
	}
	if want := 4*2 + 9*3; met != want {
		t.Errorf("%d citations, want %d", met, want)
	}
}

// TestFew holds that two connections are no finding, and a table too small for the traffic makes none up.
func TestFew(t *testing.T) {
	for _, f := range read(t, detect.Config{Conversations: 8}, "testdata/captures/d15-baseline.pcapng.zst").Findings {
		t.Errorf("with room for 8 conversations: %s by %s: %s", f.Class, f.Rule, f.Text)
	}
}
