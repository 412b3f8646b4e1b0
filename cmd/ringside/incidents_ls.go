package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// lsFlags say what is listed.
type lsFlags struct {
	which
	from, to, reason  string
	limit             int
	suppressed        bool
	server, tokenFile string
	usual             bool // the server is not named: whether there is one is open
	now               time.Time
}

func newIncidentsLsCmd(f *incidentsFlags) *cobra.Command {
	var l lsFlags
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List incidents, the newest first, and on a node those that are not stored yet, and why",
		Args:  cobra.NoArgs,
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			l.now = time.Now()
			query, err := l.query()
			if err != nil {
				return exitWith(exitUsage, err)
			}
			if l.server == "" {
				cfg, err := config.Load(f.config)
				if err != nil {
					return err
				}
				l.server, l.usual = "unix://"+cfg.Socket, true
			}
			if l.suppressed {
				return l.listSuppressed(ctx, cmd.OutOrStdout(), f.json)
			}
			return l.list(ctx, f, query, cmd.OutOrStdout(), cmd.ErrOrStderr())
		}),
	}
	l.flags(cmd)
	p := cmd.Flags()
	p.StringVar(&l.from, "from", "", "only incidents since this time: RFC 3339, now, or -5m")
	p.StringVar(&l.to, "to", "", "only incidents before this time")
	p.StringVar(&l.reason, "reason", "", "only incidents with a trigger of this reason")
	p.IntVar(&l.limit, "limit", 100, "at most so many bundles")
	p.BoolVar(&l.suppressed, "suppressed", false, "list the triggers that the daemon on this node refused, instead")
	p.StringVar(&l.server, "server", "", "daemon to ask: unix:///PATH, http(s)://ADDRESS, or none (default: this node's, if it runs)")
	p.StringVar(&l.tokenFile, "token-file", "", "file with the token for a --server over TCP")
	return cmd
}

// query checks the flags.
func (l *lsFlags) query() (q upload.Query, err error) {
	q = upload.Query{Cluster: l.cluster, Node: l.node, Reason: l.reason}
	if l.limit < 1 {
		return q, fmt.Errorf("--limit %d: give a number from 1 up", l.limit)
	}
	if l.from != "" {
		if q.From, err = parseTime(l.from, l.now); err != nil {
			return q, fmt.Errorf("--from: %w", err)
		}
	}
	if l.to != "" {
		if q.To, err = parseTime(l.to, l.now); err != nil {
			return q, fmt.Errorf("--to: %w", err)
		}
	}
	return q, nil
}

// incidentRow is one element of `incidents ls --json`: a bundle in the store, or an incident of this node that is not
// there yet.
type incidentRow struct {
	Incident string    `json:"incident"`
	Cluster  string    `json:"cluster,omitempty"`
	Node     string    `json:"node,omitempty"`
	State    string    `json:"state"`             // stored, open, ready, damaged, unfinished
	Reasons  []string  `json:"reasons,omitempty"` // of its triggers
	Triggers []string  `json:"triggers,omitempty"`
	From     time.Time `json:"from,omitzero"`
	To       time.Time `json:"to,omitzero"`
	Packets  uint64    `json:"packets,omitempty"`
	Bytes    int64     `json:"bytes,omitempty"` // as stored, or pinned in the spool
	Complete *bool     `json:"complete,omitempty"`

	Verdict     *upload.Verdict `json:"verdict,omitempty"`
	ReportError string          `json:"report_error,omitempty"` // why there is no report

	Problem  string    `json:"problem,omitempty"`  // of a damaged one
	Attempts int       `json:"attempts,omitempty"` // to store it, that failed
	Error    string    `json:"error,omitempty"`    // of the last one
	Retry    time.Time `json:"retry,omitzero"`

	coverage string
}

// States of bundles beside those of incidents.
const (
	stateDamaged    = "damaged"
	stateUnfinished = "unfinished"
)

func (l *lsFlags) list(ctx context.Context, f *incidentsFlags, q upload.Query, out, errOut io.Writer) error {
	a, err := f.open(ctx)
	if err != nil {
		return err
	}
	pending, localErr := l.pending(ctx, q)
	if localErr != nil {
		fmt.Fprintln(errOut, "ringside: what is pending on this node is not listed:", localErr)
	}
	var foreign []string
	q.Foreign = func(key string) { foreign = append(foreign, key) }
	stored, more, listErr := collect(ctx, a, q, l.limit)
	if errors.Is(listErr, upload.ErrNotFound) && !f.named() { // nobody has stored anything here yet
		fmt.Fprintf(errOut, "ringside: %v: name another store with --store or $%s\n", listErr, storeVariable)
		listErr = nil
	}
	if f.json {
		err = writeJSON(out, append(append([]incidentRow{}, pending...), stored...))
	} else {
		err = l.print(out, pending, stored, listErr == nil)
	}
	if more {
		fmt.Fprintf(errOut, "there are more than %d: use --limit, --from or --to\n", l.limit)
	}
	tellForeign(errOut, foreign)
	if i := slices.IndexFunc(stored, func(r incidentRow) bool { return r.State == stateDamaged }); i >= 0 && listErr == nil {
		listErr = errors.New("there are damaged bundles: ringside incidents show ID says what is wrong")
	}
	return errors.Join(err, listErr)
}

// collect lists up to limit bundles of the store.
func collect(ctx context.Context, a *upload.Archive, q upload.Query, limit int) (rows []incidentRow, more bool, err error) {
	for b, err := range a.List(ctx, q) {
		if err != nil {
			return rows, false, err
		}
		if len(rows) == limit {
			return rows, true, nil
		}
		rows = append(rows, bundleRow(b))
	}
	return rows, false, nil
}

func bundleRow(b upload.Bundle) incidentRow {
	r := incidentRow{Incident: b.Incident, Cluster: b.Cluster, Node: b.Node}
	if b.Manifest == nil {
		r.State, r.Problem = stateDamaged, b.Problem.Error()
		if errors.Is(b.Problem, upload.ErrUnfinished) {
			r.State = stateUnfinished
		}
		return r
	}
	m := b.Manifest
	r.State, r.From, r.To = string(trigger.StateStored), m.Window.Asked.From, m.Window.Asked.To
	r.Packets, r.Complete, r.coverage = m.Window.Coverage.Packets, &m.Window.Complete, coverageText(m)
	r.Reasons, r.Triggers = reasons(m.Triggers)
	r.Verdict, r.ReportError = m.Verdict, m.ReportError
	for _, o := range m.Objects {
		r.Bytes += o.Bytes
	}
	return r
}

// reasons are those of the triggers, each once, and the triggers' ids.
func reasons(triggers []trigger.Trigger) (texts, ids []string) {
	for _, t := range triggers {
		if !slices.Contains(texts, t.Reason) {
			texts = append(texts, t.Reason)
		}
		ids = append(ids, t.ID)
	}
	return texts, ids
}

func (l *lsFlags) print(out io.Writer, pending, stored []incidentRow, known bool) error {
	if len(pending) > 0 {
		t := newTable(out)
		t.row("PENDING HERE", "STATE", "REASON", "WINDOW", "PINNED", "WHY")
		for _, r := range pending {
			t.row(r.Incident, r.State, reasonText(r.Reasons), r.To.Sub(r.From), size(r.Bytes), r.why(l.now))
		}
		if err := t.flush(); err != nil {
			return err
		}
		if known {
			fmt.Fprintln(out)
		}
	}
	if !known {
		return nil
	}
	if len(stored) == 0 {
		_, err := fmt.Fprintln(out, "no incidents in the store")
		return err
	}
	clusters := slices.ContainsFunc(stored, func(r incidentRow) bool { return r.Cluster != stored[0].Cluster })
	t := newTable(out)
	head := []any{"INCIDENT", "NODE", "REASON", "VERDICT", "WINDOW", "PACKETS", "SIZE", "COVERAGE"}
	if clusters {
		head = slices.Insert(head, 1, any("CLUSTER"))
	}
	t.row(head...)
	for _, r := range stored {
		cells := []any{r.Incident, r.Node, reasonText(r.Reasons), r.class(), r.To.Sub(r.From), r.Packets, size(r.Bytes), r.coverage}
		if r.Problem != "" {
			cells = []any{r.Incident, r.Node, "-", "-", "-", "-", "-", r.State + ": " + printable(r.Problem)}
		}
		if clusters {
			cells = slices.Insert(cells, 1, any(r.Cluster))
		}
		t.row(cells...)
	}
	return t.flush()
}

// class is that of the verdict, in a word.
func (r *incidentRow) class() string {
	switch {
	case r.Verdict != nil:
		return orDash(printable(r.Verdict.Class))
	case r.ReportError != "":
		return "failed"
	}
	return "-" // of a recorder that made no reports
}

// why says what a pending incident waits for.
func (r *incidentRow) why(now time.Time) string {
	switch {
	case r.Error != "":
		text := fmt.Sprintf("attempt %d failed: %s", r.Attempts, printable(r.Error))
		if wait := r.Retry.Sub(now).Round(time.Second); wait > 0 {
			text += fmt.Sprintf("; next try in %v", wait)
		}
		return text
	case r.State == string(trigger.StateOpen):
		return fmt.Sprintf("its window ends in %v", max(0, r.To.Sub(now)).Round(time.Second))
	}
	return "waits for its turn, or is being stored"
}

func reasonText(list []string) string { return printable(strings.Join(list, ", ")) }

// tellForeign names keys that are no bundle's, as many as a person reads.
func tellForeign(out io.Writer, keys []string) {
	const shown = 10
	if len(keys) == 0 {
		return
	}
	var names []string
	for _, k := range keys[:min(shown, len(keys))] {
		names = append(names, printable(k))
	}
	if len(keys) > shown {
		names = append(names, fmt.Sprintf("and %d more", len(keys)-shown))
	}
	fmt.Fprintf(out, "left alone, for it belongs to no bundle: %s\n", strings.Join(names, ", "))
}
