package schema

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
)

var update = flag.Bool("update", false, "write the schemas")

// TestPublished holds the published schemas against the types.
func TestPublished(t *testing.T) {
	dir, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Published{Manifest, Report, Certificate} {
		want, err := p.Generate()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, p.Path)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the types say (%v): run go test ./schema -update", p.Path, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, p := range []Published{Manifest, Report, Certificate} {
		for _, text := range []string{`{}`, `[]`, `{"version": "1"}`} {
			if err := p.Validate([]byte(text)); err == nil {
				t.Errorf("%s takes %s", p.Path, text)
			}
		}
	}
}

// TestCertificate validates one that has something of everything, and one that has nothing.
func TestCertificate(t *testing.T) {
	at := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	asked := evidence.Asked{From: at, To: at.Add(time.Hour), Services: []string{"redis"}, Classes: []detect.Class{detect.ConntrackLoss}}
	span := rotate.Span{From: at, To: at.Add(time.Minute)}
	full := evidence.Recording{
		Node: evidence.Node{Cluster: "c", Name: "n"}, Incident: "x", Timeline: &hoststate.Summary{},
		Coverage: rotate.Coverage{From: at, To: at.Add(time.Minute), Missing: []rotate.Missing{{Span: span, Reason: rotate.MissingGap}}},
		Report: &evidence.Report{
			Findings: []detect.Finding{{Class: detect.ConntrackLoss, First: at, Last: at, Flows: []detect.Flow{}, Services: []string{}, Citations: []detect.Citation{}}},
			Files:    []evidence.File{{Name: "x"}}, Services: []evidence.Service{{Name: "redis"}},
		},
	}
	for _, list := range [][]evidence.Recording{nil, {full}} {
		text, err := evidence.Certify(asked, list).Text()
		if err == nil {
			err = Certificate.Validate(text)
		}
		if err != nil {
			t.Errorf("%v: %s", err, text)
		}
	}
}

// TestReports validates the golden report, and it with one thing wrong at a time.
func TestReports(t *testing.T) {
	dir, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "evidence/testdata/incident.report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Report.Validate(text); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(map[string]any){
		"no findings":       func(m map[string]any) { m["findings"] = nil },
		"a time of nothing": func(m map[string]any) { m["created"] = "yesterday" },
		"no verdict":        func(m map[string]any) { delete(m, "verdict") },
		"a text as number":  func(m map[string]any) { m["verdict"].(map[string]any)["confidence"] = "high" },
	} {
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := Report.Validate(b); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}
