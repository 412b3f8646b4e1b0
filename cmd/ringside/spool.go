package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
)

// spoolFlags say which spool a command looks at, and how it answers.
type spoolFlags struct {
	dir, config string
	json        bool
}

func newSpoolCmd() *cobra.Command {
	var f spoolFlags
	cmd := &cobra.Command{
		Use:   "spool",
		Short: "Look at what the recorder keeps on disk; also while it runs",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	p := cmd.PersistentFlags()
	p.StringVar(&f.dir, "dir", "", "directory of the spool, or of a pin in it (default: rotate.dir of the configuration)")
	p.StringVarP(&f.config, "config", "c", "", "configuration file")
	p.BoolVar(&f.json, "json", false, "answer in JSON")
	cmd.AddCommand(newSpoolLsCmd(&f), newSpoolDumpCmd(&f))
	return cmd
}

func newSpoolLsCmd(f *spoolFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List segments, then gaps, drops and other notes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.open()
			if err != nil {
				return err
			}
			return listSpool(cmd.OutOrStdout(), r, f.json)
		},
	}
}

func newSpoolDumpCmd(f *spoolFlags) *cobra.Command {
	var from, to string
	var blocks bool
	cmd := &cobra.Command{
		Use:   "dump [SEGMENT]...",
		Short: "Show what segments hold: interfaces, notes and chunks, or every block",
		Long: "Show the index of the named segments (name or sequence), of those that overlap --from and --to, or of all.\n" +
			"With --blocks, show what is in the files themselves, block by block.",
		RunE: func(cmd *cobra.Command, names []string) error {
			r, err := f.open()
			if err != nil {
				return err
			}
			if len(names) == 0 {
				if names, err = namesWithin(r.Segments(), from, to); err != nil {
					return exitWith(exitUsage, err)
				}
				if len(names) == 0 {
					return exitWith(exitUnknown, errors.New("no segment reaches into this time: ringside spool ls shows what there is"))
				}
			}
			for _, name := range names {
				if err := dumpSegment(cmd.OutOrStdout(), r, name, f.json, blocks); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "only segments that reach past this time: RFC 3339, now, or -5m")
	cmd.Flags().StringVar(&to, "to", "", "only segments that begin before this time")
	cmd.Flags().BoolVar(&blocks, "blocks", false, "walk the files block by block")
	return cmd
}

// open opens the spool that the flags name, for reading.
func (f *spoolFlags) open() (*rotate.Reader, error) {
	dir := f.dir
	if dir == "" {
		cfg, err := config.Load(f.config)
		if err != nil {
			return nil, err
		}
		dir = cfg.Rotate.Dir
	}
	return rotate.OpenReader(dir)
}

// namesWithin returns the names of the segments that overlap [from, to); either may be empty.
func namesWithin(segments []rotate.Segment, from, to string) (names []string, err error) {
	now := time.Now()
	start, end := time.Time{}, now.AddDate(100, 0, 0)
	if from != "" {
		if start, err = parseTime(from, now); err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
	}
	if to != "" {
		if end, err = parseTime(to, now); err != nil {
			return nil, fmt.Errorf("--to: %w", err)
		}
	}
	for _, s := range segments {
		if !s.To.Before(start) && s.From.Before(end) {
			names = append(names, s.Name)
		}
	}
	return names, nil
}

// spoolList is the answer of `spool ls --json`.
type spoolList struct {
	Segments []rotate.Segment `json:"segments"`
	Notes    []pcapng.Note    `json:"notes"`
}

func listSpool(out io.Writer, r *rotate.Reader, asJSON bool) error {
	list := spoolList{Segments: r.Segments(), Notes: []pcapng.Note{}}
	for _, s := range list.Segments {
		if s.Notes == 0 {
			continue
		}
		c, err := r.Contents(s.Name)
		if errors.Is(err, os.ErrNotExist) {
			continue // retention has removed it meanwhile
		}
		if err != nil {
			return err
		}
		list.Notes = append(list.Notes, c.Notes...)
	}
	if asJSON {
		return writeJSON(out, list)
	}
	t := newTable(out)
	t.row("SEQUENCE", "FIRST", "LAST", "PACKETS", "BYTES", "DROPPED", "STATE")
	var packets, dropped uint64
	var bytes int64
	for _, s := range list.Segments {
		state := string(s.State)
		if s.Error != "" {
			state += " (" + s.Error + ")"
		}
		t.row(s.Sequence, stamp(s.From), stamp(s.To), s.Packets, size(s.Bytes), s.Dropped, state)
		packets, dropped, bytes = packets+s.Packets, dropped+s.Dropped, bytes+s.Bytes
	}
	t.row(fmt.Sprintf("total: %d", len(list.Segments)), "", "", packets, size(bytes), dropped, "")
	if err := t.flush(); err != nil {
		return err
	}
	return printNotes(out, list.Notes)
}

func printNotes(out io.Writer, notes []pcapng.Note) error {
	if len(notes) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	t := newTable(out)
	t.row("NOTE", "FROM", "TO", "WHERE", "PACKETS", "WHAT")
	for _, n := range notes {
		what := n.Text
		if n.Step != 0 {
			what = strings.TrimSpace(fmt.Sprintf("by %v %s", time.Duration(n.Step), what))
		}
		t.row(n.Kind, stampNS(n.From), stampNS(n.To), strings.TrimSpace(n.Ring+" "+n.Interface), count(n.Packets), what)
	}
	return t.flush()
}

func dumpSegment(out io.Writer, r *rotate.Reader, name string, asJSON, blocks bool) error {
	if blocks {
		return dumpBlocks(out, r, name, asJSON)
	}
	c, err := r.Contents(name)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(out, c)
	}
	s := c.Segment
	fmt.Fprintf(out, "%s  %s, %d packets, %s, %d chunks\n", s.Name, s.State, s.Packets, size(s.Bytes), s.Chunks)
	if s.Error != "" {
		fmt.Fprintln(out, s.Error)
	}
	fmt.Fprintln(out)
	t := newTable(out)
	t.row("ID", "INTERFACE", "INDEX", "DESCRIPTION")
	for id, i := range c.Interfaces {
		t.row(id, i.Name, i.Index, i.Description)
	}
	t.row()
	t.row("OFFSET", "DATA", "RING", "FROM", "TO", "PACKETS", "DROPPED", "CUT")
	for _, e := range c.Chunks {
		t.row(e.Offset, e.Data, e.Ring, stampNS(e.From), stampNS(e.To), e.Packets, e.Dropped, e.CutPolicy+e.CutLimit)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if err := printNotes(out, c.Notes); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out)
	return err
}

// table is a table for people: columns aligned by spaces.
type table struct{ *tabwriter.Writer }

func newTable(out io.Writer) table { return table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)} }

func (t table) row(cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = fmt.Sprint(c)
	}
	fmt.Fprintln(t, strings.Join(text, "\t"))
}

func (t table) flush() error { return t.Flush() }

const stampFormat = "2006-01-02T15:04:05.000Z"

// stamp is a time to the millisecond, in UTC, or "-".
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(stampFormat)
}

func stampNS(ns int64) string {
	if ns == 0 {
		return "-"
	}
	return stamp(time.Unix(0, ns))
}

func count(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// size is a number of bytes as people write it.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}

func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
