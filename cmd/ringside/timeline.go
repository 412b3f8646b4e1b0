package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/hoststate"
)

// timelineDir is the timeline's directory in the spool's, whose lock protects it.
const timelineDir = "timeline"

// timelineFlags say which events are shown, and how.
type timelineFlags struct {
	dir, config       string
	from, to          string
	kinds, sources    []string
	subject           string
	follow, json, all bool
}

func newTimelineCmd() *cobra.Command {
	var f timelineFlags
	cmd := &cobra.Command{
		Use:   "timeline [FILE]",
		Short: "Show what happened on the host: conntrack, addresses, routes, rules, units, packages, logs",
		Long: "Show the events of this node's timeline, also while the recorder runs, or those in FILE, a timeline.jsonl of\n" +
			"a bundle. What comes all the time is left out of the table, unless --all or --kind asks for it:\n" +
			strings.Join(noise, ", ") + ".",
		Example: "  ringside timeline --from -10m\n" +
			"  ringside timeline -f --kind 'unit.*' --kind conntrack.burst\n" +
			"  ringside timeline --json ./ID/NODE/timeline.jsonl | jq 'select(.subject == \"eth0\")'",
		Args: cobra.MaximumNArgs(1),
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return f.run(ctx, cmd, args)
		}),
	}
	p := cmd.Flags()
	p.StringVar(&f.from, "from", "", "only events from this time on: RFC 3339, now, or -5m (default: -1h, or the whole FILE)")
	p.StringVar(&f.to, "to", "", "only events before this time")
	p.StringArrayVar(&f.kinds, "kind", nil, "only this kind, or a glob such as conntrack.*; may be repeated")
	p.StringArrayVar(&f.sources, "source", nil, "only what this watcher saw; may be repeated")
	p.StringVar(&f.subject, "subject", "", "only what happened to this, or a glob")
	p.BoolVarP(&f.follow, "follow", "f", false, "go on with what happens, until interrupted")
	p.BoolVar(&f.all, "all", false, "everything, also what comes all the time")
	p.BoolVar(&f.json, "json", false, "JSON lines, of everything")
	p.StringVar(&f.dir, "dir", "", "directory of the spool (default: rotate.dir of the configuration)")
	p.StringVarP(&f.config, "config", "c", "", "configuration file")
	return cmd
}

func (f *timelineFlags) run(ctx context.Context, cmd *cobra.Command, args []string) error {
	q, err := f.query(len(args) > 0)
	if err != nil {
		return exitWith(exitUsage, err)
	}
	shown := newEventPrinter(cmd.OutOrStdout(), f)
	if len(args) > 0 {
		err = f.readFile(args[0], q, shown.print)
	} else {
		err = f.readSpool(ctx, q, shown.print)
	}
	if err != nil || f.follow {
		return err
	}
	if shown.hidden > 0 && !f.json {
		fmt.Fprintf(cmd.ErrOrStderr(), "not shown: %d of what comes all the time (add --all)\n", shown.hidden)
	}
	if shown.count+shown.hidden == 0 {
		return exitWith(exitUnknown, errors.New("no events: try an earlier --from, and see in /readyz?verbose which watchers run"))
	}
	return nil
}

// query is what the flags select.
func (f *timelineFlags) query(file bool) (q hoststate.Query, err error) {
	if file && f.follow {
		return q, errors.New("-f follows the timeline of a node: leave FILE out")
	}
	now := time.Now()
	from := f.from
	if from == "" && !file {
		from = "-1h"
	}
	for _, t := range []struct {
		flag, text string
		dst        *time.Time
	}{{"--from", from, &q.From}, {"--to", f.to, &q.To}} {
		if t.text == "" {
			continue
		}
		if *t.dst, err = parseTime(t.text, now); err != nil {
			return q, fmt.Errorf("%s: %w", t.flag, err)
		}
	}
	q.Kinds, q.Sources, q.Subject = f.kinds, f.sources, f.subject
	return q, knownKinds(f.kinds)
}

// knownKinds refuses kinds that no event has.
func knownKinds(globs []string) error {
	for _, glob := range globs {
		known := slices.ContainsFunc(hoststate.Kinds, func(k hoststate.Kind) bool {
			ok, err := path.Match(glob, k.Name)
			return ok && err == nil
		})
		if !known {
			var names []string
			for _, k := range hoststate.Kinds {
				names = append(names, k.Name)
			}
			return fmt.Errorf("--kind %s: there is no such kind; there are %s", glob, strings.Join(names, ", "))
		}
	}
	return nil
}

func (f *timelineFlags) readFile(name string, q hoststate.Query, each func(hoststate.Event) error) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	return hoststate.ReadFrom(in, q, each)
}

func (f *timelineFlags) readSpool(ctx context.Context, q hoststate.Query, each func(hoststate.Event) error) error {
	dir := f.dir
	if dir == "" {
		cfg, err := config.Load(f.config)
		if err != nil {
			return err
		}
		dir = cfg.Rotate.Dir
	}
	r := hoststate.OpenReader(filepath.Join(dir, timelineDir))
	read := r.Read
	if f.follow {
		read = r.Follow
	}
	err := read(ctx, q, each)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s has no timeline: is it the spool's directory (rotate.dir), and has the recorder run?", dir)
	}
	return err
}

// eventPrinter prints events, each as it comes.
type eventPrinter struct {
	out           io.Writer
	json, all     bool
	count, hidden int
}

func newEventPrinter(out io.Writer, f *timelineFlags) *eventPrinter {
	return &eventPrinter{out: out, json: f.json, all: f.all || len(f.kinds) > 0}
}

func (p *eventPrinter) print(e hoststate.Event) error {
	if p.json {
		p.count++
		return json.NewEncoder(p.out).Encode(e)
	}
	if !p.all && slices.Contains(noise, e.Kind) {
		p.hidden++
		return nil
	}
	p.count++
	text := e.Text
	if e.By != nil && !strings.Contains(text, e.By.String()) {
		text += " (by " + e.By.String() + ")"
	}
	_, err := fmt.Fprintf(p.out, "%s  %-16s  %-14s  %s\n", e.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), printable(e.Kind), printable(e.Subject), printable(text))
	return err
}
