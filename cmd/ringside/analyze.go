package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/input"
	"github.com/ringside/ringside/evidence"
)

// analyzeFlags say what is analysed, and what becomes of it.
type analyzeFlags struct {
	html, at, config, timeline string
	around                     time.Duration
	uplinks                    []string
	json                       bool
}

func newAnalyzeCmd() *cobra.Command {
	var f analyzeFlags
	cmd := &cobra.Command{
		Use:   "analyze FILE...",
		Short: "Say what went wrong in captures of any tool, and which packets prove it",
		Long: "Read captures, pcap or pcapng of any tool, also in gzip or zstd, and say what went wrong, with the packets that prove\n" +
			"it and what it was not. FILE is a capture, - for standard input, or a directory with a bundle as incidents get makes\n" +
			"them, whose timeline is read too. Several files are merged by time, each a place of its own: join the parts of one\n" +
			"rotated capture with mergecap first. Headers are enough.\n" +
			"Exit code: 0 nothing was wrong, 1 something was, 2 a file cannot be read, 3 the capture cannot tell.",
		Example: "  ringside analyze night.pcap.gz\n" +
			"  ringside analyze --html report.html ./ID/NODE/\n" +
			"  ringside analyze --json --at 2026-11-22T02:14:07Z node.pcapng | jq -r .verdict.sentence",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no capture is named: ringside analyze FILE, or - for standard input")
			}
			return nil
		},
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return f.run(ctx, cmd, args)
		}),
	}
	p := cmd.Flags()
	p.BoolVar(&f.json, "json", false, "the whole report as JSON")
	p.StringVar(&f.html, "html", "", "write the report as a page to this file")
	p.StringArrayVar(&f.uplinks, "uplink", nil, "interface that leads out of the node; may be repeated (default: found by itself)")
	p.StringVar(&f.at, "at", "", "only the minutes around this time: RFC 3339, now, or -5m")
	p.DurationVar(&f.around, "around", 2*time.Minute, "how much, before and after --at")
	p.StringVar(&f.timeline, "timeline", "", "the host's events: a timeline.jsonl, also in zstd or gzip (default: a bundle's own)")
	p.StringVarP(&f.config, "config", "c", "", "configuration file whose services name the servers (default: a bundle's own, else those known by name)")
	return cmd
}

func (f *analyzeFlags) run(ctx context.Context, cmd *cobra.Command, args []string) error {
	o, err := f.options(args)
	if err != nil {
		return exitWith(exitUsage, err)
	}
	shown := newProgress(cmd.ErrOrStderr(), "analysing")
	o.Progress = func(done, total int64) {
		if total == 0 { // a stream, of which there may be more
			total = done + 1
		}
		shown.show("", done, total)
	}
	o.Problem = func(p input.Problem) {
		defer fmt.Fprintln(cmd.ErrOrStderr(), "ringside:", printable(p.String()))
		shown.end()
	}
	report, err := evidence.Analyze(ctx, o)
	shown.end()
	switch {
	case ctx.Err() != nil:
		return exitWith(exitUnknown, errors.New("interrupted"))
	case err != nil:
		return exitWith(exitUsage, err)
	}
	if err := f.write(cmd.OutOrStdout(), report); err != nil {
		return err
	}
	if f.at != "" && report.Coverage.Stats.Packets == 0 {
		return exitWith(exitUnknown, fmt.Errorf("no packet is within %v of --at %s: capinfos shows when a capture was made", f.around, f.at))
	}
	return analyzeExit(report.Verdict.Class)
}

// analyzeExit gives a verdict its exit code.
func analyzeExit(class detect.Class) error {
	switch class {
	case detect.None:
		return nil
	case detect.RecorderBlind:
		return exitWith(exitUnknown, errors.New("the capture cannot tell"))
	}
	return exitWith(exitFailed, fmt.Errorf("something went wrong: %s", class))
}

// options are those of the flags, and of the bundles among the files.
func (f *analyzeFlags) options(args []string) (o evidence.Options, err error) {
	o.Detect = detect.Config{Services: detectServices(filter.Presets()), Uplinks: f.uplinks}
	o.Facts.Program = "ringside " + version
	if f.at != "" {
		at, err := parseTime(f.at, time.Now())
		if err != nil {
			return o, fmt.Errorf("--at: %w", err)
		}
		if f.around <= 0 {
			return o, errors.New("--around: write more than 0, such as 2m")
		}
		o.From, o.To = at.Add(-f.around), at.Add(f.around)
	}
	if err := addFiles(&o, args); err != nil {
		return o, errors.Join(err, unreadable(o.Sources))
	}
	if f.config != "" {
		cfg, err := config.Load(f.config)
		if err != nil {
			return o, err
		}
		o.Detect.Services = detectServices(cfg.Capture.Services)
	}
	if f.timeline != "" {
		return o, addTimeline(&o, f.timeline)
	}
	return o, nil
}

// unreadable is what is wrong with captures, so that all that is wrong can be told at once.
func unreadable(sources []input.Source) error {
	if len(sources) == 0 {
		return nil
	}
	r, err := input.Open(sources, input.Options{})
	if err == nil {
		r.Close()
	}
	return err
}

// write puts the report where it was asked for.
func (f *analyzeFlags) write(out io.Writer, report *evidence.Report) error {
	if f.html != "" {
		if err := writeReportPage(f.html, report); err != nil {
			return err
		}
	}
	if f.json {
		return writeJSON(out, report)
	}
	return printReport(out, report)
}

func writeReportPage(path string, report *evidence.Report) error {
	var page bytes.Buffer
	if err := evidence.WriteHTML(&page, report); err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return nil
}
