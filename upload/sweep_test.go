package upload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// keys lists all objects in the archive's store, and what was never completed, with a ? before it.
func keys(t *testing.T, s Store) (list []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, o.Key)
	}
	for u, err := range s.Unfinished(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, "?"+u.Key)
	}
	return list
}

// The manifest goes first: half a bundle is never taken for a whole one.
func TestRemove(t *testing.T) {
	a, dir := newArchive(t)
	b := putBundle(t, a.store, at(0, "n1"), packets(1), CompressionZstd)
	kept := putBundle(t, a.store, at(0, "n2"), packets(1), CompressionZstd)
	put(t, a.store, b.Prefix()+"capture-OLD.pcapng", nil)
	temporary(t, dir, b.Prefix()+"capture-HALF.pcapng", 0)
	var order []string
	a.store = tap{Store: a.store, deleted: func(key string) { order = append(order, strings.TrimPrefix(key, b.Prefix())) }}
	for range 2 { // again: nothing is left to remove
		if err := a.Remove(t.Context(), b.Place); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{ManifestName, "capture-AAAA.pcapng.zst", "capture-OLD.pcapng", ManifestName}; !slices.Equal(order, want) {
		t.Errorf("removed in the order %q, want %q", order, want)
	}
	if got, want := keys(t, a.store), []string{kept.Prefix() + "capture-AAAA.pcapng.zst", kept.Prefix() + ManifestName}; !slices.Equal(got, want) {
		t.Errorf("left: %q, want %q", got, want)
	}
}

// temporary leaves a file as a killed Put leaves it, of that age.
func temporary(t *testing.T, dir, key string, age time.Duration) {
	t.Helper()
	path := filepath.Join(dir, filepath.Dir(key), "."+filepath.Base(key)+".ABCDEFGHIJ.tmp")
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("half"), 0o640); err != nil {
		t.Fatal(err)
	}
	aged(t, path, age)
}

func aged(t *testing.T, path string, age time.Duration) {
	t.Helper()
	when := time.Now().Add(-age)
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
}

func TestSweep(t *testing.T) {
	const day = 24 * time.Hour
	a, dir := newArchive(t)
	place := func(n int) string { return at(time.Duration(n)*time.Minute, "n1").Prefix() }
	for n := range 6 {
		putBundle(t, a.store, at(time.Duration(n)*time.Minute, "n1"), packets(1), CompressionNone)
	}
	ages := map[string]time.Duration{
		place(0) + "capture-OLD.pcapng":                                  2 * day, // of a lost attempt
		place(1) + "capture-OLD.pcapng":                                  2 * day, // beside it an upload is under way
		place(2) + "capture-OLD.pcapng":                                  2 * day, // beside it something was just stored
		place(2) + "capture-NEW.pcapng":                                  time.Hour,
		place(3) + "capture-OLD.pcapng":                                  2 * day, // the manifest cannot be read
		place(9) + "capture-A.pcapng":                                    2 * day, // no manifest
		place(9) + "capture-B.pcapng":                                    2 * day,
		place(10) + "capture-A.pcapng":                                   time.Hour, // no manifest yet
		place(0) + "notes from the night":                                2 * day,   // a person's
		place(0) + "deeper/capture.pcapng":                               2 * day,
		"README":                                                         2 * day,
		"cluster=prod/date=2026-11-22/incident=x/node=n1/capture.pcapng": 2 * day,
	}
	for key := range ages {
		put(t, a.store, key, []byte("12345"))
	}
	for _, key := range keys(t, a.store) {
		aged(t, filepath.Join(dir, key), 3*day)
	}
	for key, age := range ages {
		aged(t, filepath.Join(dir, key), age)
	}
	spoil(t, dir, place(3)+ManifestName, func([]byte) []byte { return []byte("{") })
	aged(t, filepath.Join(dir, place(3)+ManifestName), 3*day)
	temporary(t, dir, place(1)+"capture-NOW.pcapng", time.Hour)
	temporary(t, dir, place(4)+"capture-DEAD.pcapng", 2*day)
	temporary(t, dir, "backup.tar", 2*day)

	before := keys(t, a.store)
	gone := []string{
		"?" + place(4) + "capture-DEAD.pcapng", place(0) + "capture-OLD.pcapng", place(9) + "capture-A.pcapng", place(9) + "capture-B.pcapng",
	}
	for _, dry := range []bool{true, false} {
		var swept, foreign []string
		var bytes int64
		o := SweepOptions{Before: time.Now().Add(-day), DryRun: dry, Foreign: func(key string) { foreign = append(foreign, key) }}
		for s, err := range a.Sweep(t.Context(), o) {
			if err != nil {
				t.Fatal(err)
			}
			if s.Key == place(3) && s.Err != nil { // left alone, and said so
				continue
			}
			if s.Err != nil {
				t.Errorf("%s: %v", s.Key, s.Err)
			}
			if strings.Contains(s.Why, "never completed") {
				s.Key = "?" + s.Key
			}
			swept = append(swept, s.Key)
			bytes += s.Bytes
		}
		if !slices.Equal(swept, gone) || bytes != 15 {
			t.Errorf("dry %v: swept %q, %d bytes; want %q", dry, swept, bytes, gone)
		}
		slices.Sort(foreign)
		if len(foreign) != 5 || foreign[0] != "README" || foreign[1] != "backup.tar" {
			t.Errorf("foreign: %q", foreign)
		}
		want := before
		if !dry {
			want = slices.DeleteFunc(slices.Clone(before), func(key string) bool { return slices.Contains(gone, key) })
		}
		if got := keys(t, a.store); !slices.Equal(got, want) {
			t.Errorf("dry %v: left %q\nwant %q", dry, got, want)
		}
	}
	for range a.Sweep(t.Context(), SweepOptions{Before: time.Now()}) { // the caller may stop
		break
	}
}

// What cannot be removed is said, and the rest is.
func TestSweepErrors(t *testing.T) {
	a, dir := newArchive(t)
	for n := range 3 {
		key := at(time.Duration(n)*time.Minute, "n1").Prefix() + "capture-A.pcapng"
		put(t, a.store, key, []byte("x"))
		aged(t, filepath.Join(dir, key), time.Hour)
	}
	inner := a.store
	a.store = denying{inner, at(time.Minute, "n1").Prefix()}
	failed := 0
	for s, err := range a.Sweep(t.Context(), SweepOptions{Before: time.Now()}) {
		if err != nil {
			t.Fatal(err)
		}
		if errors.Is(s.Err, ErrDenied) {
			failed++
		}
	}
	if left := keys(t, inner); failed != 1 || len(left) != 1 {
		t.Errorf("%d failed, %v is left", failed, left)
	}
}

// denying is a store that lets nobody delete below a prefix.
type denying struct {
	Store
	prefix string
}

func (s denying) Delete(ctx context.Context, key string) error {
	if strings.HasPrefix(key, s.prefix) {
		return ErrDenied
	}
	return s.Store.Delete(ctx, key)
}
