package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// Report is what is recorded at the moment.
type Report struct {
	Ready      bool        `json:"ready"` // at least one interface is recorded
	Interfaces []Interface `json:"interfaces"`
	Rings      []Ring      `json:"rings"`
	Spool      Spool       `json:"spool"`

	Watchers []hoststate.WatcherStatus `json:"watchers,omitempty"` // what watches the host; it makes no node unready

	Detection *Detection `json:"detection,omitempty"` // nil if packets are not looked at while they are recorded

	Config *ConfigState `json:"config,omitempty"` // nil without a file
	Faults []Fault      `json:"faults,omitempty"` // of tokens and certificate; the server fills it in
}

// Detection is how the recorded packets are looked at. Packets are counted since the start.
type Detection struct {
	State         string    `json:"state"` // as a watcher's
	Why           string    `json:"why,omitempty"`
	Packets       uint64    `json:"packets"`
	Skipped       uint64    `json:"skipped"` // not looked at
	Findings      uint64    `json:"findings"`
	Conversations int       `json:"conversations"`       // at the moment
	CoveredTo     time.Time `json:"covered_to,omitzero"` // zero before the first chunk
}

// ConfigState is which configuration is in force.
type ConfigState struct {
	File         string    `json:"file"`
	Hash         string    `json:"hash"` // of the file as it is in force, in hexadecimal
	Loaded       time.Time `json:"loaded"`
	Error        string    `json:"error,omitempty"`         // why a newer file is not in force, and the cure
	NeedsRestart []string  `json:"needs_restart,omitempty"` // keys whose new values are not in force
}

// Interface is one interface, or a rule that no interface meets yet.
type Interface struct {
	Name     string `json:"name"`
	Index    int    `json:"index,omitempty"` // the kernel's, 0 for a rule
	State    string `json:"state"`
	Why      string `json:"why,omitempty"`
	Ring     string `json:"ring,omitempty"`
	Received uint64 `json:"received"` // packets
}

// Ring is the account of one ring since it was opened, in packets.
type Ring struct {
	Name      string    `json:"name"`
	Bytes     int       `json:"bytes"`
	Received  uint64    `json:"received"`
	Dropped   uint64    `json:"dropped"`
	Coarse    string    `json:"coarse,omitempty"` // what its filter gave up to fit the kernel
	CoveredTo time.Time `json:"covered_to"`
}

// Spool is the state of the disk. Oldest and Newest are zero while nothing is stored.
type Spool struct {
	Dir              string    `json:"dir"`
	Segments         int       `json:"segments"`
	Bytes            int64     `json:"bytes"`
	Oldest           time.Time `json:"oldest,omitzero"`
	Newest           time.Time `json:"newest,omitzero"`
	Mode             string    `json:"mode"` // how it is written
	UnwrittenPackets uint64    `json:"unwritten_packets"`
	Error            string    `json:"error,omitempty"` // why nothing can be written at the moment
}

// readyz answers 200 if at least one interface is recorded and 503 otherwise: a state, not an error, so no problem.
// Names are left out, not refused, where they may not be seen: probes must not fail for want of a token.
func (s *Server) readyz(w http.ResponseWriter, req *http.Request) {
	r := s.sources.Report()
	r.Faults = s.faults()
	status := http.StatusOK
	if !r.Ready {
		status = http.StatusServiceUnavailable
	}
	query := req.URL.Query()
	asJSON := query.Get("format") == "json" || strings.Contains(req.Header.Get("Accept"), "application/json")
	verbose := (query.Has("verbose") || asJSON) && clientOf(req).may(names)
	var body bytes.Buffer
	if asJSON {
		w.Header().Set("Content-Type", "application/json")
		if !verbose {
			r = Report{Ready: r.Ready}
		}
		out := json.NewEncoder(&body)
		out.SetIndent("", "  ")
		out.Encode(r) // into memory, of plain values: cannot fail
	} else {
		w.Header().Set("Content-Type", textType)
		r.writeText(&body, verbose)
	}
	w.WriteHeader(status)
	w.Write(body.Bytes())
}

func (r Report) writeText(w io.Writer, verbose bool) {
	switch {
	case r.Ready:
		fmt.Fprintln(w, "ready")
	case verbose:
		fmt.Fprintln(w, "not ready: no interface is recorded")
	default:
		fmt.Fprintln(w, "not ready: no interface is recorded, /readyz?verbose says why")
	}
	if !verbose {
		return
	}
	r.writeTables(w)
	r.writeWatchers(w)
	r.writeDetection(w)
	r.writeConfig(w)
}

func (r Report) writeTables(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "\nINTERFACE\tSTATE\tRING\tPACKETS\tWHY")
	for _, i := range r.Interfaces {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", i.Name, i.State, orDash(i.Ring), i.Received, orDash(i.Why))
	}
	fmt.Fprintln(t, "\nRING\tMEMORY\tPACKETS\tDROPPED\tCOVERED TO\tFILTER")
	for _, g := range r.Rings {
		fmt.Fprintf(t, "%s\t%d KiB\t%d\t%d\t%s\t%s\n", g.Name, g.Bytes>>10, g.Received, g.Dropped, stamp(g.CoveredTo), orExact(g.Coarse))
	}
	s := r.Spool
	fmt.Fprintln(t, "\nSPOOL\tSEGMENTS\tSIZE\tOLDEST\tNEWEST\tUNWRITTEN\tMODE")
	fmt.Fprintf(t, "%s\t%d\t%d MiB\t%s\t%s\t%d\t%s\n", s.Dir, s.Segments, s.Bytes>>20, stamp(s.Oldest), stamp(s.Newest), s.UnwrittenPackets, orDash(s.Mode))
	if s.Error != "" {
		fmt.Fprintf(t, "\nnothing can be written: %s\n", s.Error)
	}
}

// writeWatchers lists what watches the host, and what each cannot see.
func (r Report) writeWatchers(w io.Writer) {
	if len(r.Watchers) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "\nWATCHER\tSTATE\tSINCE\tEVENTS\tWHY")
	for _, each := range r.Watchers {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", each.Name, each.State, stamp(each.Since), each.Events, orDash(each.Why))
		for _, spot := range each.Blind {
			fmt.Fprintf(t, "\tblind\t\t\t%s\n", spot)
		}
	}
}

func (r Report) writeDetection(w io.Writer) {
	d := r.Detection
	if d == nil {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "\nDETECTION\tPACKETS\tSKIPPED\tFINDINGS\tCONNECTIONS\tCOVERED TO\tWHY")
	fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\t%s\n", d.State, d.Packets, d.Skipped, d.Findings, d.Conversations, stamp(d.CoveredTo), orDash(d.Why))
}

func (r Report) writeConfig(w io.Writer) {
	if c := r.Config; c != nil {
		fmt.Fprintf(w, "\nconfiguration %s, in force since %s, SHA-256 %s\n", c.File, stamp(c.Loaded), c.Hash)
		if c.Error != "" {
			fmt.Fprintf(w, "a newer one is not in force: %s\n", c.Error)
		}
		if len(c.NeedsRestart) > 0 {
			fmt.Fprintf(w, "restart for new values of: %s\n", strings.Join(c.NeedsRestart, ", "))
		}
	}
	for _, f := range r.Faults {
		fmt.Fprintf(w, "\n%s: the new file is not in force since %s: %s\n", f.What, stamp(f.Since), f.Text)
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func orExact(coarse string) string {
	if coarse == "" {
		return "exact"
	}
	return "coarse: " + coarse
}
