package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/upload"
	"github.com/ringside/ringside/upload/export"
)

// getFlags say what is fetched, and in which form.
type getFlags struct {
	which
	output, format        string
	annotated, merge, raw bool
}

const (
	formatPcapng = "pcapng"
	formatPcap   = "pcap"
	standardOut  = "-"
)

func newIncidentsGetCmd(f *incidentsFlags) *cobra.Command {
	var g getFlags
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Fetch an incident's packets, verified",
		Long: "Fetch the bundles of an incident into ./ID/NODE/: manifest.json, capture.pcapng, timeline.jsonl, report.json and\n" +
			"report.html. Every object's SHA-256 is verified, as stored and decompressed. What is damaged is named and left as NAME.bad, the rest is fetched, and the\n" +
			"exit code is 1. The same command continues what was interrupted. Exit code 3: nothing was recorded in the window.\n\n" +
			"With -o FILE or -o - there is one capture alone, of one node or, with --merge, of all in the order of time, with\n" +
			"interfaces named NODE/INTERFACE. A capture, and its form as pcap, keep the order of packets, and so their numbers.",
		Example: "  ringside incidents get ID -o - | tshark -r -\n" +
			"  ringside incidents get ID --merge --annotated -o night.pcapng\n" +
			"  ringside incidents get ID --node ip-10-0-1-7 --format pcap -o /tmp/",
		Args: cobra.ExactArgs(1),
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := g.check(); err != nil {
				return exitWith(exitUsage, err)
			}
			a, err := f.open(ctx)
			if err != nil {
				return err
			}
			list, err := g.find(ctx, a, args[0])
			if err != nil {
				return err
			}
			fetch := newFetcher(a, args[0], list, cmd)
			fetch.json = f.json
			return g.run(ctx, fetch)
		}),
	}
	g.flags(cmd)
	p := cmd.Flags()
	p.StringVarP(&g.output, "output", "o", "", "file, directory (one that exists, or with a slash at its end), or - for standard output")
	p.StringVar(&g.format, "format", formatPcapng, "pcapng, or pcap (classic, with nanoseconds)")
	p.BoolVar(&g.annotated, "annotated", false, "a copy in the order of time, with the host's events between the packets, and comments on what the report cites, at triggers and behind whatever is missing")
	p.BoolVar(&g.merge, "merge", false, "all nodes in one file, in the order of time")
	p.BoolVar(&g.raw, "raw", false, "leave the objects as they are stored, compressed; into a directory only")
	return cmd
}

// check refuses flags that contradict one another.
func (g *getFlags) check() error {
	switch {
	case g.format != formatPcapng && g.format != formatPcap:
		return fmt.Errorf("--format %s: write %s or %s", g.format, formatPcapng, formatPcap)
	case g.annotated && g.format == formatPcap:
		return errors.New("--annotated needs pcapng: classic pcap has no comments")
	case g.raw && (g.annotated || g.merge || g.format == formatPcap):
		return errors.New("--raw leaves objects as they are: leave --annotated, --merge and --format out")
	case g.raw && !g.intoDirectory():
		return errors.New("--raw writes several files: give -o a directory, or leave it out")
	}
	return nil
}

func (g *getFlags) intoDirectory() bool {
	if g.output == "" || strings.HasSuffix(g.output, "/") {
		return true
	}
	info, err := os.Stat(g.output)
	return err == nil && info.IsDir()
}

// plain says whether captures are wanted as they are.
func (g *getFlags) plain() bool { return !g.annotated && !g.merge && g.format == formatPcapng }

// run fetches into a directory, or one capture into a file or to standard output.
func (g *getFlags) run(ctx context.Context, f fetcher) error {
	if err := f.distinct(); err != nil {
		return exitWith(exitUsage, err)
	}
	if g.intoDirectory() {
		return g.toDirectory(ctx, f)
	}
	if f.json {
		return exitWith(exitUsage, errors.New("--json tells which files were written: give -o a directory, or leave it out"))
	}
	if len(f.bundles) > 1 && !g.merge {
		err := fmt.Errorf("several nodes stored this incident: add --node, one of %s, or --merge, or leave -o out", nodeNames(f.bundles))
		return exitWith(exitUsage, err)
	}
	if g.output != standardOut {
		return g.toFile(ctx, f)
	}
	dir, err := os.MkdirTemp("", "ringside-get-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return g.single(ctx, f, dir, func(list []fetched) error {
		return g.write(ctx, f.out, list, func() {
			os.RemoveAll(dir) // what is open can be read; nothing is left even if the process is killed
			signal.Reset(syscall.SIGINT, syscall.SIGTERM)
		})
	})
}

// toFile fetches into a directory beside the file, which stays for the next try if this one fails.
func (g *getFlags) toFile(ctx context.Context, f fetcher) error {
	dir := g.output + ".download"
	err := g.single(ctx, f, dir, func(list []fetched) error { return g.writeFile(ctx, g.output, list) })
	if err == nil || exitCode(err) == exitUnknown {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// single fetches into dir and writes one capture. What is damaged does not keep it from writing the rest.
func (g *getFlags) single(ctx context.Context, f fetcher, dir string, write func([]fetched) error) error {
	list, err := f.fetch(ctx, dir, false)
	switch {
	case len(captures(list)) > 0:
		err = errors.Join(err, write(list))
	case err == nil && uncovered(f.bundles) == nil:
		err = errors.New("the bundle has no capture: ringside incidents show says what it has")
	}
	return errors.Join(err, uncoveredIf(err, f.bundles))
}

// toDirectory fetches all that there is, and puts other forms of the captures beside them.
func (g *getFlags) toDirectory(ctx context.Context, f fetcher) error {
	dir := g.output
	if dir == "" {
		dir = "."
	}
	list, err := f.fetch(ctx, dir, g.raw)
	errs := []error{err}
	var more []string
	if g.merge {
		if len(captures(list)) > 0 {
			path := filepath.Join(dir, list[0].Incident, "merged"+g.suffix())
			errs, more = append(errs, g.writeFile(ctx, path, list)), append(more, path)
		}
	} else if !g.plain() {
		for _, b := range list {
			if len(captures([]fetched{b})) == 0 {
				continue
			}
			path := filepath.Join(dir, b.Incident, b.Node, "capture"+g.suffix())
			errs, more = append(errs, g.writeFile(ctx, path, []fetched{b})), append(more, path)
		}
	}
	err = errors.Join(errs...)
	errs = []error{err, f.report(dir, list, more, err), uncoveredIf(err, f.bundles)}
	return errors.Join(errs...)
}

func (g *getFlags) suffix() string {
	if g.annotated {
		return ".annotated.pcapng"
	}
	return "." + g.format
}

// writeFile writes the captures to path, which appears when it is complete.
func (g *getFlags) writeFile(ctx context.Context, path string, list []fetched) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // a device or a pipe
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer w.Close()
		return g.write(ctx, w, list, nil)
	}
	w, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = errors.Join(g.write(ctx, w, list, nil), w.Close())
	if err == nil {
		err = os.Rename(w.Name(), path)
	}
	if err != nil {
		os.Remove(w.Name())
	}
	return err
}

// write writes the captures in the form that was asked for. It calls opened, unless nil, when it has opened them all.
func (g *getFlags) write(ctx context.Context, w io.Writer, list []fetched, opened func()) error {
	files := captures(list)
	sources := make([]export.Source, len(files))
	for i, c := range files {
		f, err := os.Open(c.Path)
		if err != nil {
			return err
		}
		defer f.Close()
		sources[i].File = f
		if g.merge {
			sources[i].Node = c.Node
		}
		if g.annotated {
			cited, err := citedMarks(c.fetched)
			if err != nil {
				return err
			}
			sources[i].Marks = append(bundleMarks(c.Manifest), cited...)
			if sources[i].Events, err = bundleEvents(c.fetched); err != nil {
				return err
			}
		}
	}
	if opened != nil {
		opened()
	}
	if g.plain() && len(sources) == 1 {
		_, err := io.Copy(w, sources[0].File)
		return err
	}
	o := export.Options{Pcap: g.format == formatPcap, Sorted: g.merge || g.annotated, Comment: sectionComment(list, g.annotated)}
	_, err := export.Write(ctx, w, sources, o)
	return err
}

// uncoveredIf is the exit of what was fetched without an error.
func uncoveredIf(err error, list []upload.Bundle) error {
	if err != nil {
		return nil
	}
	return uncovered(list)
}
