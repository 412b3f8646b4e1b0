package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/evidence"
)

// How much of a finding people are shown. All of it is in the JSON.
const (
	shownCitations = 6
	shownFlows     = 4
	shownBlind     = 5
)

const clockTime = "15:04:05.000000"

// printReport shows a report to people: what happened, what proves it, what it was not, and what was looked at.
func printReport(out io.Writer, r *evidence.Report) error {
	var b bytes.Buffer
	v := &r.Verdict
	fmt.Fprintf(&b, "%s\n\n", printable(v.Sentence))
	fmt.Fprintf(&b, "verdict   %s, confidence %.2f\n", v.Class, v.Confidence)
	if v.Cause != "" {
		fmt.Fprintf(&b, "cause     %s\n", printable(v.Cause))
	}
	if v.Impact.Flows > 0 {
		fmt.Fprintf(&b, "impact    %d flows of %s, for %.1f s\n", v.Impact.Flows, printable(strings.Join(v.Impact.Services, ", ")), v.Impact.Seconds)
	}
	for _, need := range v.Need {
		fmt.Fprintf(&b, "to know   %s\n", printable(need))
	}
	printFindings(&b, r)
	printRuledOut(&b, r.RuledOut)
	printServices(&b, r.Services)
	printCoverage(&b, r)
	_, err := out.Write(b.Bytes())
	return err
}

func printFindings(b *bytes.Buffer, r *evidence.Report) {
	if len(r.Findings) == 0 {
		return
	}
	fmt.Fprintf(b, "\nfindings (times are UTC)\n")
	for _, f := range r.Findings {
		fmt.Fprintf(b, "  %s  %s by %s, confidence %.2f\n    %s\n", f.First.UTC().Format(clockTime), f.Class, f.Rule, f.Confidence, printable(f.Text))
		for _, flow := range f.Flows[:min(len(f.Flows), shownFlows)] {
			fmt.Fprintf(b, "    %s\n", flowText(flow))
		}
		if more := f.Count - shownFlows; more > 0 && len(f.Flows) > shownFlows {
			fmt.Fprintf(b, "    and %d more\n", more)
		}
		printCitations(b, f.Citations, len(r.Files) > 1)
	}
}

func flowText(f detect.Flow) string {
	text := f.Src + " → " + f.Dst
	for _, more := range []string{f.Service, f.Interface, f.Fate} {
		if more != "" {
			text += "  " + printable(more)
		}
	}
	if f.Then != "" {
		text += "  then from " + f.Then
	}
	return text
}

func printCitations(b *bytes.Buffer, list []detect.Citation, files bool) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, c := range list[:min(len(list), shownCitations)] {
		fmt.Fprintf(t, "    frame %d\t", c.Frame)
		if files {
			fmt.Fprintf(t, "%s\t", printable(c.File))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", printable(c.Interface), time.Unix(0, c.TimeNS).UTC().Format(clockTime), printable(c.What))
	}
	t.Flush()
	if more := len(list) - shownCitations; more > 0 {
		fmt.Fprintf(b, "    and %d more (--json)\n", more)
	}
}

func printRuledOut(b *bytes.Buffer, list []evidence.RuledOut) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\nruled out\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, r := range list {
		fmt.Fprintf(t, "  %s\t%s\n", r.Class, printable(r.Why))
	}
	t.Flush()
}

func printServices(b *bytes.Buffer, list []evidence.Service) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\nservices\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  \tpackets\tanswers\tp50\tp95\tmax\tconnects\trefused\tunanswered\tresets\tsent again\ttime-outs")
	for _, s := range list {
		x := &s.Series.Total
		fmt.Fprintf(t, "  %s\t%d\t%d\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", printable(s.Name), s.Packets, x.Answers, brief(x.P50), brief(x.P95), brief(x.Max),
			x.Connects, x.Refused, x.Unanswered, x.Resets, x.Retransmitted, x.TimeOuts)
	}
	t.Flush()
}

// brief is a duration in ns in three digits, "" for none.
func brief(ns int64) string {
	if ns == 0 {
		return "–"
	}
	return rounded(time.Duration(ns)).String()
}

func printCoverage(b *bytes.Buffer, r *evidence.Report) {
	c := &r.Coverage
	fmt.Fprintf(b, "\nlooked at\n")
	for _, f := range r.Files {
		fmt.Fprintf(b, "  %s  %d packets, %s\n", printable(f.Name), f.Packets, size(f.Bytes))
	}
	if !c.From.IsZero() {
		fmt.Fprintf(b, "  from %s to %s, %v\n", c.From.UTC().Format(time.RFC3339), c.To.UTC().Format(time.RFC3339), rounded(c.To.Sub(c.From)))
	}
	for _, v := range c.Vantages {
		role := ""
		if v.Uplink {
			role = ", an uplink"
		}
		fmt.Fprintf(b, "  at %s  %d packets%s\n", printable(vantageName(v)), v.Packets, role)
	}
	fmt.Fprintf(b, "  %s\n", completeness(c))
	for _, x := range c.Blind[:min(len(c.Blind), shownBlind)] {
		fmt.Fprintf(b, "    %s to %s  %s\n", x.From.UTC().Format(clockTime), x.To.UTC().Format(clockTime), printable(strings.TrimSpace(x.Vantage+"  "+x.Why)))
	}
	if more := len(c.Blind) - shownBlind; more > 0 {
		fmt.Fprintf(b, "    and %d more\n", more)
	}
}

func vantageName(v detect.Vantage) string {
	if v.Name == "" {
		return v.File
	}
	return v.Name
}

// completeness says whether what was looked at is all there was.
func completeness(c *evidence.Coverage) string {
	s := &c.Stats
	switch {
	case s.Evicted > 0:
		return fmt.Sprintf("not complete: %d conversations were given up, because there were too many at a time", s.Evicted)
	case !c.Complete:
		return "not complete:"
	case c.Known:
		return "complete"
	}
	return "as far as the capture tells, complete: what was dropped without a word, nobody knows"
}
