package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/upload"
)

func newIncidentsOpenCmd(f *incidentsFlags) *cobra.Command {
	var w which
	var packets bool
	cmd := &cobra.Command{
		Use:   "open ID",
		Short: "Fetch an incident's report, and show it; with --packets, its packets",
		Long: "Fetch the reports of an incident, one a node, into the user's cache directory, verified, and show them in the\n" +
			"desktop's browser. With --packets, or if no node made a report, fetch the packets and show an annotated copy, of all\n" +
			"nodes in the order of time, in Wireshark or whatever else the desktop has for captures. Without a display, print\n" +
			"where the files are.",
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
			cache, err := os.UserCacheDir()
			if err != nil {
				return fmt.Errorf("%w: use ringside incidents get instead", err)
			}
			fetch, dir := newFetcher(a, args[0], list, cmd), filepath.Join(cache, "ringside")
			if packets || !slices.ContainsFunc(list, hasPage) {
				return openPackets(ctx, fetch, dir, cmd)
			}
			return openPages(ctx, fetch, dir, cmd)
		}),
	}
	w.flags(cmd)
	cmd.Flags().BoolVar(&packets, "packets", false, "show the packets, not the report")
	return cmd
}

func hasPage(b upload.Bundle) bool {
	return b.Manifest != nil && slices.ContainsFunc(b.Manifest.Objects, func(o upload.ObjectFacts) bool { return o.Kind == upload.KindPage })
}

// openPages shows the reports that there are.
func openPages(ctx context.Context, f fetcher, dir string, cmd *cobra.Command) error {
	if err := f.distinct(); err != nil {
		return exitWith(exitUsage, err)
	}
	for _, b := range f.bundles {
		if !hasPage(b) {
			why := "its recorder made none"
			if b.Manifest == nil {
				why = b.Problem.Error()
			} else if b.Manifest.ReportError != "" {
				why = b.Manifest.ReportError
			}
			fmt.Fprintf(f.errOut, "ringside: %s has no report: %s\n", b.Node, printable(why))
		}
	}
	f.bundles = slices.DeleteFunc(f.bundles, func(b upload.Bundle) bool { return !hasPage(b) })
	f.kinds = []string{upload.KindReport, upload.KindPage}
	list, err := f.fetch(ctx, dir, false)
	if err != nil {
		return err
	}
	for _, b := range list {
		for _, o := range b.files {
			if o.Kind != upload.KindPage {
				continue
			}
			fmt.Fprintln(f.out, o.Path)
			if err := view(cmd, o.Path, "open it with a browser", "xdg-open", "firefox", "chromium", "google-chrome"); err != nil {
				return err
			}
		}
	}
	return nil
}

// openPackets shows an annotated copy of the packets.
func openPackets(ctx context.Context, f fetcher, dir string, cmd *cobra.Command) error {
	path := filepath.Join(dir, f.id+".pcapng")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	g := getFlags{output: path, format: formatPcapng, annotated: true, merge: len(f.bundles) > 1}
	if err := g.run(ctx, f); err != nil {
		return err
	}
	fmt.Fprintln(f.out, path)
	return view(cmd, path, "to read it: tshark -r "+path, "wireshark", "xdg-open")
}

// view starts the first of the programs that there is, and does not wait for it.
func view(cmd *cobra.Command, path, instead string, programs ...string) error {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "there is no display here; %s\n", instead)
		return nil
	}
	for _, name := range programs {
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		viewer := exec.Command(program, path)
		if err := viewer.Start(); err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		return viewer.Process.Release()
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "none of %v is installed; %s\n", programs, instead)
	return nil
}
