package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"
)

func newIncidentsOpenCmd(f *incidentsFlags) *cobra.Command {
	var w which
	cmd := &cobra.Command{
		Use:   "open ID",
		Short: "Fetch an incident's packets, annotated, and show them in Wireshark",
		Long: "Fetch the bundles of an incident into the user's cache directory, verified, and show an annotated copy, of all\n" +
			"nodes in the order of time, in Wireshark or whatever else the desktop has for captures. Without a display, print\n" +
			"where the copy is.",
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
			path := filepath.Join(cache, "ringside", args[0]+".pcapng")
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
			g := getFlags{output: path, format: formatPcapng, annotated: true, merge: len(list) > 1}
			if err := g.run(ctx, newFetcher(a, args[0], list, cmd)); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), path)
			return view(path, cmd)
		}),
	}
	w.flags(cmd)
	return cmd
}

// view starts what shows captures, and does not wait for it.
func view(path string, cmd *cobra.Command) error {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "there is no display here; to read it: tshark -r %s\n", path)
		return nil
	}
	for _, name := range []string{"wireshark", "xdg-open"} {
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
	fmt.Fprintf(cmd.ErrOrStderr(), "neither wireshark nor xdg-open is installed; to read it: tshark -r %s\n", path)
	return nil
}
