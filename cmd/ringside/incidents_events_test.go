package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringside/ringside/upload"
)

// TestBundleEventsAreBounded: however long a bundle's timeline is, what is taken of it is not, and says so.
func TestBundleEventsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "timeline.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	line := `{"seq":1,"time":"2026-11-22T19:00:00Z","kind":"observation","text":"x","data":"` + strings.Repeat("d", 1<<20) + `"}` + "\n"
	for range 100 {
		if _, err := f.WriteString(line); err != nil {
			t.Fatal(err)
		}
	}
	small := `{"seq":1,"time":"2026-11-22T19:00:00Z","kind":"observation","text":"x"}` + "\n"
	if _, err := f.WriteString(strings.Repeat(small, mostEvents)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	events, err := bundleEvents(fetched{files: []upload.Fetched{{ObjectFacts: upload.ObjectFacts{Kind: upload.KindTimeline}, Path: path}}})
	if err != nil || len(events) != mostEvents+1 || !strings.Contains(events[mostEvents].Text, "100 more") {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for _, e := range events {
		for name, value := range e.Fields {
			if len(value) > longestField {
				t.Fatalf("%s has %d bytes", name, len(value))
			}
		}
	}
}
