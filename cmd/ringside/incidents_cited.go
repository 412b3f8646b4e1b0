package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/upload"
	"github.com/ringside/ringside/upload/export"
)

// largestReport is what is read of a report, in bytes: what is in a store is not trusted.
const largestReport = 32 << 20

// citedMarks are the comments for the packets that the report of a downloaded bundle cites. A bundle without a report has
// none.
func citedMarks(b fetched) ([]export.Mark, error) {
	for _, o := range b.files {
		if o.Kind != upload.KindReport {
			continue
		}
		r, err := readReport(o.Path)
		if err != nil {
			return nil, err
		}
		return reportMarks(r), nil
	}
	return nil, nil
}

func readReport(path string) (*evidence.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r evidence.Report
	if err := json.NewDecoder(io.LimitReader(f, largestReport)).Decode(&r); err != nil {
		return nil, fmt.Errorf("%s is no report: %w: ringside analyze makes another of the capture", path, err)
	}
	return &r, nil
}

// reportMarks names every cited packet once for each thing that it shows.
func reportMarks(r *evidence.Report) (marks []export.Mark) {
	type said struct {
		frame uint64
		text  string
	}
	seen := map[said]bool{}
	cite := func(f *detect.Finding, list []detect.Citation) {
		for _, c := range list {
			s := said{c.Frame, fmt.Sprintf("ringside: %s (%s, %s)", c.What, f.Class, f.Rule)}
			if c.Frame == 0 || seen[s] {
				continue
			}
			seen[s] = true
			marks = append(marks, export.Mark{At: time.Unix(0, c.TimeNS), Frame: c.Frame, Text: s.text})
		}
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		cite(f, f.Citations)
		for _, flow := range f.Flows {
			cite(f, flow.Citations)
		}
	}
	return marks
}
