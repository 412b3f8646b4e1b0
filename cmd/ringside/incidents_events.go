package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/upload"
	"github.com/ringside/ringside/upload/export"
)

// noise is kinds that come all the time: they are left out where people look for what happened.
var noise = []string{"counters", "conntrack.counts", "conntrack.digest", "conntrack.new", "conntrack.update", "state.snapshot", "sysctl.value"}

// Bounds of what is taken of a bundle's timeline, for it is held in memory.
const (
	mostEvents   = 100_000
	longestField = 4096 // bytes, as in the export
)

// bundleEvents are the host's events of a downloaded bundle, for between its packets. One without a timeline has none.
func bundleEvents(b fetched) (list []export.Event, err error) {
	left := 0
	var last time.Time
	for _, o := range b.files {
		if o.Kind != upload.KindTimeline {
			continue
		}
		f, openErr := os.Open(o.Path)
		if openErr != nil {
			return list, openErr
		}
		err = errors.Join(err, hoststate.ReadFrom(f, hoststate.Query{}, func(e hoststate.Event) error {
			switch {
			case slices.Contains(noise, e.Kind):
			case len(list) == mostEvents:
				left++
			default:
				last = e.Time
				list = append(list, exported(e))
			}
			return nil
		}), f.Close())
	}
	if left > 0 {
		list = append(list, export.Event{At: last, Text: fmt.Sprintf("%d more events are left out: see %s", left, upload.TimelineName)})
	}
	return list, err
}

func exported(e hoststate.Event) export.Event {
	fields := map[string]string{"RINGSIDE_KIND": cutField(e.Kind), "RINGSIDE_SOURCE": cutField(e.Source)}
	for name, value := range map[string]string{
		"SUBJECT": e.Subject, "BEFORE": e.Before, "AFTER": e.After, "DATA": string(e.Data[:min(len(e.Data), longestField)]), "RAW": e.Raw,
	} {
		if value != "" {
			fields["RINGSIDE_"+name] = cutField(value)
		}
	}
	text := e.Kind
	if e.Subject != "" {
		text += " " + e.Subject
	}
	if text += ": " + e.Text; e.By != nil {
		fields["RINGSIDE_BY"] = cutField(e.By.String())
		if !strings.Contains(e.Text, e.By.String()) {
			text += " (by " + e.By.String() + ")"
		}
	}
	return export.Event{At: e.Time, Text: cutField(text), Fields: fields}
}

// cutField does not hold on to what it cuts.
func cutField(s string) string {
	if len(s) > longestField {
		s = strings.Clone(s[:longestField])
	}
	return s
}
