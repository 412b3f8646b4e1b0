package lab

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ringside/ringside/lab/traffic"
)

// WriteReport writes a result for people: what happened, what the clients saw of it, and what the recorder has. With
// terminal, what must be looked at is in colour.
func WriteReport(out io.Writer, r *Result, terminal bool) error {
	b := &strings.Builder{}
	name := r.Scenario
	if r.Variant != "" {
		name += " (" + r.Variant + ")"
	}
	p := r.Parameters
	fmt.Fprintf(b, "%s: %s\n", bold(name, terminal), r.Title)
	fmt.Fprintf(b, "  IPv%d, NAT %s, %s, round trip %s, %d connections kept open; seed %d\n\n", p.Family, p.NAT, uplinks(p.Uplinks), p.RTT, p.Flows, r.Seed)
	fmt.Fprintf(b, "%s  %s\n\n", r.Fault.At.Format("15:04:05.000"), r.Fault.What)
	r.writeTraffic(b)
	r.writeRecorded(b)
	r.writeVerdict(b)
	held := 0
	fmt.Fprintf(b, "\nWhat must be seen:\n")
	for _, e := range r.Expectations {
		mark := coloured("yes", green, terminal)
		if e.Held {
			held++
		} else {
			mark = coloured("NO ", red, terminal)
		}
		fmt.Fprintf(b, "  %s  %s\n", mark, e.What)
		if !e.Held {
			fmt.Fprintf(b, "       seen: %s\n", e.Saw)
		}
	}
	fmt.Fprintf(b, "\n%d of %d hold; the verdict that is due: %s. Took %s.\n", held, len(r.Expectations), r.Class, r.Took)
	if r.Attempts > 1 {
		fmt.Fprintf(b, "This was attempt %d: the machine stood still before (now for %s at most).\n", r.Attempts, r.Stall)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (r *Result) writeTraffic(b *strings.Builder) {
	t := r.Traffic
	fmt.Fprintf(b, "What the clients saw: %d of %d open connections were lost, %d resets, %d time-outs, %d other failures\n",
		t.Hit, t.Flows, t.Resets, t.Timeouts, t.Other)
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "  service\tbefore: p50\tmax\tafter: p50\tmax\tanswers\tresets\ttime-outs\tother\t")
	for _, s := range r.byService() {
		all := s.During.Broken.Add(s.During.Unconnected).Add(s.After.Broken).Add(s.After.Unconnected)
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t\n", s.Service, short(s.Before.P50), short(s.Before.Max), short(s.After.P50),
			short(max(s.During.Max, s.After.Max)), s.During.Answers+s.After.Answers, all.Reset, all.TimedOut, all.Total()-all.Reset-all.TimedOut)
	}
	table.Flush()
}

// byService adds up what the pods saw of a service. A median is that of the pod that saw the worse one.
func (r *Result) byService() (list []ServiceOutcome) {
	for _, s := range r.Traffic.Services {
		at := slices.IndexFunc(list, func(x ServiceOutcome) bool { return x.Service == s.Service })
		if at < 0 {
			list = append(list, s)
			continue
		}
		x := &list[at]
		x.Before, x.During, x.After = add(x.Before, s.Before), add(x.During, s.During), add(x.After, s.After)
	}
	return list
}

func add(a, b traffic.Summary) traffic.Summary {
	return traffic.Summary{
		Answers: a.Answers + b.Answers, P50: max(a.P50, b.P50), P95: max(a.P95, b.P95), Max: max(a.Max, b.Max),
		Connects: a.Connects + b.Connects, ConnectMax: max(a.ConnectMax, b.ConnectMax),
		Broken: a.Broken.Add(b.Broken), Unconnected: a.Unconnected.Add(b.Unconnected),
	}
}

func (r *Result) writeRecorded(b *strings.Builder) {
	events := 0
	for _, n := range r.Recorded.Kinds {
		events += n
	}
	fmt.Fprintf(b, "\nWhat Ringside recorded: %d packets and %d events of the host, in incident %s\n", r.Recorded.Packets, events, r.Recorded.Incident)
	for _, t := range r.Recorded.Triggers {
		fmt.Fprintf(b, "  triggered by %s\n", t)
	}
	const each, width = 2, 100 // lines of a kind, and characters of a line
	lines, left := map[string]int{}, 0
	for _, k := range r.Recorded.Key {
		if lines[k.Kind]++; lines[k.Kind] > each {
			left++
			continue
		}
		fmt.Fprintf(b, "  %10s  %-17s %s\n", relative(k.After), k.Kind, cut(k.Text, width))
	}
	if left > 0 {
		fmt.Fprintf(b, "  and %d more of these kinds\n", left)
	}
}

func (r *Result) writeVerdict(b *strings.Builder) {
	if r.Verdict == nil {
		return
	}
	fmt.Fprintf(b, "\nWhat Ringside says: %s (%.2f)\n  %s\n", r.Verdict.Class, r.Verdict.Confidence, r.Verdict.Sentence)
	if r.Live != nil {
		fmt.Fprintf(b, "  It triggered on %q while it recorded, %s after the fault and %s after the first packet that shows it.\n",
			r.Live.Rule, r.Live.AfterFault, r.Live.AfterFirst)
	}
}

func uplinks(n int) string {
	if n == 1 {
		return "1 uplink"
	}
	return fmt.Sprint(n, " uplinks")
}

func short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// relative is a time relative to the fault, with its sign.
func relative(after string) string {
	if strings.HasPrefix(after, "-") {
		return after
	}
	return "+" + after
}

// cut shortens text to a number of characters.
func cut(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-3]) + "..."
	}
	return text
}

// Colours, as terminals know them (ECMA-48).
const (
	red   = "31"
	green = "32"
)

func coloured(text, colour string, terminal bool) string {
	if !terminal {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func bold(text string, terminal bool) string { return coloured(text, "1", terminal) }
