package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad feeds any bytes as a configuration. Whatever they are, either every bound that the rest of Ringside relies on
// holds, or there is at least one problem and each has a place and a text on one line.
func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range append(files, "../config.example.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parse("f.yaml", text, noTcpdump)
		if err != nil {
			checkProblems(t, err)
			return
		}
		checkBounds(t, c)
	})
}

func checkProblems(t *testing.T, err error) {
	var all *Error
	if !errors.As(err, &all) || len(all.Problems) == 0 {
		t.Fatalf("error %v is no *Error with problems", err)
	}
	for _, p := range all.Problems {
		if p.Line < 1 || p.Text == "" {
			t.Fatalf("problem without line or text: %+v", p)
		}
	}
}

func checkBounds(t *testing.T, c *Config) {
	for _, r := range c.Trigger.Rules {
		if p := r.Problems(); p != nil {
			t.Fatalf("rule %+v: %v", r, p)
		}
	}
	for _, s := range c.Trigger.Schedules {
		if p := s.Problems(); p != nil {
			t.Fatalf("schedule %+v: %v", s, p)
		}
	}
	if h := c.Hoststate; h.Conntrack.Digest <= 0 || h.Conntrack.Buffer <= 0 || h.Keep.Bytes < 0 || h.Root == "" {
		t.Fatalf("out of bounds: %+v", h)
	}
	if n := c.Detect.Conversations; n < 1024 || n > 1<<20 {
		t.Fatalf("%d conversations", n)
	}
	r := c.Rotate
	if c.ShutdownTimeout <= 0 || r.Every <= 0 || r.MaxSize <= 0 || r.Keep.Bytes < 0 || r.Keep.Age <= 0 || r.WriteLimit < 0 || c.Capture.Ring < minRing {
		t.Fatalf("out of bounds: %+v", c)
	}
	if !(r.Keep.Free >= 0 && r.Keep.Free < 1) || !filepath.IsAbs(r.Dir) || !filepath.IsAbs(c.Socket) || len(c.Socket) > maxSocketPath {
		t.Fatalf("out of bounds: %+v", c)
	}
	w := c.Trigger
	if w.Pre <= 0 || w.Post <= 0 || w.Pre+w.Post > w.MaxWindow || w.Cooldown <= 0 || !(w.Rate > 0 && c.TriggerRate > 0) {
		t.Fatalf("out of bounds: %+v", w)
	}
	if w.Budget.Incidents <= 0 || w.Budget.Bytes <= 0 || w.Budget.Pinned < 0 || w.DropDir != "" && !filepath.IsAbs(w.DropDir) {
		t.Fatalf("out of bounds: %+v", w)
	}
	u := c.Upload
	if to, err := parseStore(u.To); err != nil || to != u.To || u.Cluster == "" || u.Node == "" || strings.ContainsAny(u.Cluster+u.Node, "/ \n") {
		t.Fatalf("store %q, cluster %q, node %q: %v", u.To, u.Cluster, u.Node, err)
	}
	if u.S3.PartSize < 5<<20 || u.S3.Concurrency < 1 || u.S3.Timeout <= 0 || len(u.S3.Tags) > maxTags || u.Notify.After <= 0 {
		t.Fatalf("out of bounds: %+v", u)
	}
	if len(c.Capture.Interfaces) == 0 || len(c.Capture.Services) == 0 {
		t.Fatal("nothing would be recorded, and no problem says so")
	}
	for _, s := range c.Capture.Services {
		if s.Name == "" || strings.ContainsAny(s.Name, "\n \"") || s.Expression == "" && len(s.Ports)+len(s.CIDRs) == 0 {
			t.Fatalf("service %+v", s)
		}
		for _, p := range s.Ports {
			if p.First == 0 || p.Last < p.First {
				t.Fatalf("ports %+v", p)
			}
		}
	}
}
