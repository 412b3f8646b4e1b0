package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/upload"
	"github.com/ringside/ringside/upload/export"
)

// bundleMarks are the comments for the packets of a bundle: at its triggers, and behind whatever is missing.
func bundleMarks(m *upload.Manifest) (marks []export.Mark) {
	for _, t := range m.Triggers {
		text := fmt.Sprintf("ringside: the packet nearest to trigger %s (%s) at %s", t.ID, t.Reason, exact(t.At))
		marks = append(marks, export.Mark{At: t.At, Text: text})
	}
	for _, x := range m.Window.Coverage.Missing {
		text := fmt.Sprintf("ringside: missing before this (%s): %s to %s", x.Reason, exact(x.From), exact(x.To))
		if x.Ring != "" {
			text += " on " + x.Ring
		}
		if x.Packets > 0 {
			text += fmt.Sprintf(", %d packets", x.Packets)
		}
		// A ring of one interface has its name.
		marks = append(marks, export.Mark{At: x.To, After: true, Interface: x.Ring, Text: text})
	}
	for _, n := range m.Window.Coverage.Notes {
		if n.Kind == pcapng.NoteClock {
			text := fmt.Sprintf("ringside: the clock was set by %v before this", time.Duration(n.Step))
			marks = append(marks, export.Mark{At: time.Unix(0, n.To), After: true, Text: text})
		}
	}
	return marks
}

// exact is a time to the nanosecond, in UTC.
func exact(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// sectionComment tells whoever opens the file what it is.
func sectionComment(list []fetched, annotated bool) string {
	var b strings.Builder
	for i, f := range list {
		if i > 0 {
			b.WriteString("\n")
		}
		w := f.Manifest.Window
		fmt.Fprintf(&b, "ringside: incident %s on %s (cluster %s), %s to %s. Coverage: %s.", f.Incident, f.Node, f.Cluster,
			exact(w.Asked.From), exact(w.Asked.To), coverageText(f.Manifest))
		if !annotated {
			continue
		}
		for _, t := range f.Manifest.Triggers {
			fmt.Fprintf(&b, "\nTrigger %s by %s: %s at %s", t.ID, t.Source, t.Reason, exact(t.At))
		}
	}
	return strings.ToValidUTF8(b.String(), "?")
}
