package main

import (
	"fmt"
	"io"
	"time"

	"github.com/ringside/ringside/evidence"
)

// Most lines that a person reads of one kind.
const (
	shownFires = 20
	shownHoles = 20
)

// printCertificate prints a certificate for people.
func printCertificate(out io.Writer, c *evidence.Certificate) error {
	t := newTable(out)
	name := "" // of the lines to come, printed once
	line := func(format string, args ...any) {
		t.row(name, printable(fmt.Sprintf(format, args...)))
		name = ""
	}
	t.row("time", fmt.Sprintf("%s to %s, %v", stamp(c.Asked.From), stamp(c.Asked.To), c.Asked.To.Sub(c.Asked.From).Round(time.Millisecond)))
	t.row("from", printable(c.Source))
	t.row("result", c.Words())
	name = "recorded"
	for _, r := range c.Recordings {
		line("%s  %s to %s  %d packets%s", r.Node.Name, stamp(r.From), stamp(r.To), r.Packets, timelineText(r))
	}
	name = "missing"
	for i, h := range c.Uncovered {
		if i == shownHoles {
			line("and %d more: --json has all", len(c.Uncovered)-i)
			break
		}
		words := missingWords[h.Reason]
		if words == "" {
			words = "no bundle has it"
		}
		text := fmt.Sprintf("%s  %s to %s  %s", h.Node.Name, stamp(h.From), stamp(h.To), words)
		if h.Ring != "" {
			text += "  " + h.Ring
		}
		if h.Packets > 0 {
			text += fmt.Sprintf("  %d packets", h.Packets)
		}
		line("%s", text)
	}
	name = "services"
	for _, s := range c.Services {
		switch {
		case s.Packets > 0:
			line("%s  %d packets", s.Name, s.Packets)
		case s.Asked:
			line("%s  NO PACKET: if this node has none, name those that it has with --service", s.Name)
		}
	}
	name = "fired"
	for i, f := range c.Findings {
		if i == shownFires {
			line("and %d more: --json has all", len(c.Findings)-i)
			break
		}
		text := fmt.Sprintf("%s  %s  %s (%s): %s", stamp(f.First), f.Node.Name, f.Class, f.Rule, f.Text)
		if f.Incident != "" {
			text += "  ringside incidents open " + f.Incident
		}
		if !f.Counts {
			text += "  (not asked for)"
		}
		line("%s", text)
	}
	return t.flush()
}

func timelineText(r evidence.Recorded) string {
	switch t := r.Timeline; {
	case t == nil:
		return "  no timeline"
	case !t.Complete:
		return fmt.Sprintf("  timeline with gaps, %d events", t.Events)
	default:
		return fmt.Sprintf("  timeline complete, %d events", t.Events)
	}
}
