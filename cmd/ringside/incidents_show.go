package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/upload"
)

func newIncidentsShowCmd(f *incidentsFlags) *cobra.Command {
	var w which
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show what was recorded of an incident, what is missing, and on which machine",
		Long: "Show the manifests of an incident, node by node. ID may be that of a trigger that was merged into the incident.\n" +
			"Exit code 1 if a bundle has no good manifest, 3 if nothing at all was recorded in the window.",
		Args: cobra.ExactArgs(1),
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			a, err := f.open(ctx)
			if err != nil {
				return err
			}
			list, err := w.find(ctx, a, args[0])
			if err != nil {
				return err
			}
			if f.json {
				err = showJSON(cmd.OutOrStdout(), args[0], list)
			} else {
				err = showAll(cmd.OutOrStdout(), a, args[0], list)
			}
			if err != nil {
				return err
			}
			for _, b := range list {
				if b.Problem != nil {
					return fmt.Errorf("%s: %w", b.Prefix(), b.Problem)
				}
			}
			return uncovered(list)
		}),
	}
	w.flags(cmd)
	return cmd
}

// incidentShown is the answer of `incidents show --json`.
type incidentShown struct {
	ID      string        `json:"id"` // as asked for
	Bundles []bundleShown `json:"bundles"`
}

type bundleShown struct {
	Incident string          `json:"incident"`
	Cluster  string          `json:"cluster"`
	Node     string          `json:"node"`
	Key      string          `json:"key"`                // of the manifest
	Manifest json.RawMessage `json:"manifest,omitempty"` // as it is stored
	Problem  string          `json:"problem,omitempty"`
}

func showJSON(out io.Writer, id string, list []upload.Bundle) error {
	v := incidentShown{ID: id}
	for _, b := range list {
		s := bundleShown{Incident: b.Incident, Cluster: b.Cluster, Node: b.Node, Key: b.Prefix() + upload.ManifestName}
		if b.Manifest != nil {
			s.Manifest = b.Raw
		} else {
			s.Problem = b.Problem.Error()
		}
		v.Bundles = append(v.Bundles, s)
	}
	return writeJSON(out, v)
}

func showAll(out io.Writer, a *upload.Archive, id string, list []upload.Bundle) error {
	for i, b := range list {
		if i > 0 {
			fmt.Fprintln(out)
		}
		s := shower{out: newTable(out), Bundle: b}
		s.line("incident", b.Incident)
		if b.Incident != id {
			s.line("", id+" is a trigger that was merged into it")
		}
		s.line("node", fmt.Sprintf("%s, cluster %s", b.Node, b.Cluster))
		s.line("stored at", a.String()+"/"+b.Prefix())
		if b.Manifest == nil {
			s.line("problem", printable(b.Problem.Error()))
		} else {
			s.manifest(b.Manifest)
		}
		if err := s.out.flush(); err != nil {
			return err
		}
	}
	return nil
}

// shower prints a bundle as lines of a name and a text.
type shower struct {
	upload.Bundle
	out table
}

// line prints texts of a name, which is left out if it is that of the line before.
func (s *shower) line(name string, texts ...string) {
	for _, text := range texts {
		s.out.row(name, text)
		name = ""
	}
}

func (s *shower) manifest(m *upload.Manifest) {
	s.verdict(m)
	s.line("stored", stamp(m.Created))
	s.triggers(m)
	w, c := m.Window, &m.Window.Coverage
	s.line("window", fmt.Sprintf("%s to %s, %v", stamp(w.Asked.From), stamp(w.Asked.To), w.Asked.To.Sub(w.Asked.From)))
	names := orDash(printable(strings.Join(c.Interfaces, " ")))
	s.line("packets", fmt.Sprintf("%d  segments: %d  interfaces: %s", c.Packets, c.Segments, names))
	s.coverage(m)
	s.timeline(m.Timeline)
	s.recorder(&m.Recorder)
	var objects []string
	for _, o := range m.Objects {
		objects = append(objects, fmt.Sprintf("%s  %s (%s plain)  sha256 %s", o.Name, size(o.Bytes), size(o.PlainBytes), o.SHA256))
	}
	s.line("objects", objects...)
	switch p := m.Previous; {
	case p == nil:
		s.line("previous", "none: the first of this node")
	default:
		s.line("previous", fmt.Sprintf("%s  sha256 %s", p.Incident, p.SHA256))
	}
}

// verdict says what happened, and where the proof is.
func (s *shower) verdict(m *upload.Manifest) {
	v := m.Verdict
	if v == nil {
		if m.ReportError != "" {
			s.line("verdict", "none was made: "+printable(m.ReportError), "to make it: ringside incidents get "+s.Incident+", and ringside analyze on what it fetched")
		}
		return
	}
	s.line("verdict", fmt.Sprintf("%s, %.0f %% sure", printable(v.Class), 100*v.Confidence), printable(v.Sentence))
	if v.Cause != "" {
		s.line("cause", printable(v.Cause))
	}
	s.line("impact", impactText(v))
	s.line("to read on", "ringside incidents open "+s.Incident)
}

// impactText says whom it hurt.
func impactText(v *upload.Verdict) string {
	i, text := v.Impact, "nobody was hurt"
	if i.Flows > 0 {
		text = fmt.Sprintf("%d flows", i.Flows)
		if len(i.Services) > 0 {
			text += " to " + printable(strings.Join(i.Services, ", "))
		}
		text += fmt.Sprintf(", for %v", rounded(time.Duration(i.Seconds*float64(time.Second))))
	}
	if v.StateLost {
		text += "; conntrack state was lost"
	}
	return text
}

func (s *shower) triggers(m *upload.Manifest) {
	for i, t := range m.Triggers {
		name := ""
		if i == 0 {
			name = "triggers"
		}
		text := fmt.Sprintf("%s  %s  %s before, %s after  by %s",
			stamp(t.At), printable(t.Reason), t.Pre, t.Post, printable(t.Source))
		if t.Client != "" {
			text += " (" + printable(t.Client) + ")"
		}
		var labels []string
		for k, v := range t.Labels {
			labels = append(labels, printable(k+"="+v))
		}
		if slices.Sort(labels); len(labels) > 0 {
			text += "  " + strings.Join(labels, " ")
		}
		s.line(name, text)
		if i > 0 {
			s.line("", "  "+t.ID+", merged")
		}
	}
	for _, e := range m.Extensions {
		s.line("", fmt.Sprintf("  the window became %s to %s: %s", stamp(e.From), stamp(e.To), printable(e.Why)))
	}
}

const shownMissing = 20

func (s *shower) coverage(m *upload.Manifest) {
	c := &m.Window.Coverage
	s.line("coverage", coverageText(m))
	for i, x := range c.Missing {
		if i == shownMissing {
			s.line("", fmt.Sprintf("  and %d more: --json has all", len(c.Missing)-i))
			break
		}
		text := fmt.Sprintf("  %s to %s", stamp(x.From), stamp(x.To))
		if x.Ring != "" {
			text += "  " + printable(x.Ring)
		}
		if x.Packets > 0 {
			text += fmt.Sprintf("  %d packets", x.Packets)
		}
		words := missingWords[x.Reason]
		if words == "" {
			words = printable(x.Reason)
		}
		if x.Text != "" && x.Text != words {
			words += " (" + printable(x.Text) + ")"
		}
		s.line("", text+"  "+words)
	}
	for _, n := range c.Notes {
		if n.Kind == pcapng.NoteClock {
			s.line("clock step", fmt.Sprintf("%s  by %v", stampNS(n.To), time.Duration(n.Step)))
		}
	}
}

func (s *shower) timeline(t *hoststate.Summary) {
	if t == nil {
		return // of a recorder that kept none
	}
	if t.Complete {
		s.line("timeline", fmt.Sprintf("%d events, complete", t.Events))
		return
	}
	s.line("timeline", fmt.Sprintf("%d events", t.Events))
	for i, g := range t.Gaps {
		if i == shownMissing {
			s.line("", fmt.Sprintf("  and %d more gaps: --json has all", len(t.Gaps)-i))
			break
		}
		s.line("", fmt.Sprintf("  %s to %s  %s", stamp(g.From), stamp(g.To), printable(g.Why)))
	}
}

// watchers shows those that do not run or do not see everything.
func (s *shower) watchers(list []hoststate.WatcherStatus) {
	var texts []string
	for _, w := range list {
		if w.State != hoststate.StateOn {
			texts = append(texts, fmt.Sprintf("%s is %s: %s", printable(w.Name), printable(w.State), printable(w.Why)))
		}
		for _, b := range w.Blind {
			texts = append(texts, printable(w.Name)+": "+printable(b))
		}
	}
	s.line("unwatched", texts...)
}

func (s *shower) recorder(r *upload.Recorder) {
	if r.Version == "" {
		return // the recorder could not be asked
	}
	s.line("recorder", fmt.Sprintf("ringside %s on %s, %s, %s; since %s", printable(r.Version), orDash(printable(r.Hostname)),
		printable(r.Kernel), printable(r.Machine), stamp(r.Started)))
	k := r.Clock
	if k.Source != "" {
		sync := "NOT synchronised"
		if k.Synchronised {
			sync = "synchronised"
		}
		off, most := time.Duration(k.OffsetNS), time.Duration(k.ErrorNS)
		s.line("clock", fmt.Sprintf("%s, %s, off by %v, at most by %v", printable(k.Source), sync, off, most))
	}
	var interfaces []string
	for _, i := range r.Interfaces {
		text := printable(i.Name) + "  " + printable(i.State)
		if i.Why != "" {
			text += ": " + printable(i.Why)
		}
		interfaces = append(interfaces, text)
	}
	s.line("interfaces", interfaces...)
	for i, v := range r.BlindSpots {
		name := ""
		if i == 0 {
			name = "blind to"
		}
		s.line(name, printable(v))
	}
	s.watchers(r.Watchers)
	var services []string
	for _, v := range r.Services {
		services = append(services, fmt.Sprintf("%s  payload %s", printable(v.Name), printable(v.Payload)))
	}
	s.line("services", services...)
	if r.Filter.SHA256 != "" {
		s.line("filter", "sha256 "+printable(r.Filter.SHA256))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
