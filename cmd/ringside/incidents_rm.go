package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/upload"
)

func newIncidentsRmCmd(f *incidentsFlags) *cobra.Command {
	var w which
	var yes bool
	cmd := &cobra.Command{
		Use:   "rm ID",
		Short: "Remove an incident from the store",
		Long: "Remove the bundles of an incident, of all nodes or of --node. The manifests go first, so that nobody finds half a\n" +
			"bundle. The next manifest of the node still names the one that is gone: verify will say so.",
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
			for _, b := range list {
				if b.Incident != args[0] {
					return exitWith(exitUsage, fmt.Errorf("%s is a trigger that was merged into incident %s: remove that one", args[0], b.Incident))
				}
				if errors.Is(b.Problem, upload.ErrUnfinished) {
					return fmt.Errorf("%s: %w: if it was given up, ringside incidents sweep removes it", b.Prefix(), b.Problem)
				}
			}
			if !yes {
				if err := confirm(cmd, fmt.Sprintf("remove incident %s of %s?", args[0], nodeNames(list))); err != nil {
					return err
				}
			}
			removed := []string{}
			for _, b := range list {
				if err := a.Remove(ctx, b.Place); err != nil {
					return fmt.Errorf("remove %s: %w", b.Prefix(), err)
				}
				removed = append(removed, b.Prefix())
			}
			if f.json {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"removed": removed})
			}
			for _, prefix := range removed {
				fmt.Fprintln(cmd.OutOrStdout(), "removed", prefix)
			}
			return nil
		}),
	}
	w.flags(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirm asks on the terminal.
func confirm(cmd *cobra.Command, question string) error {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !isTerminal(in) {
		return exitWith(exitUsage, errors.New("there is no terminal to ask on: give --yes"))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was removed")
}

// sweptRow is one element of `incidents sweep --json`.
type sweptRow struct {
	Key     string `json:"key"`
	Bytes   int64  `json:"bytes"` // 0 if unknown
	Why     string `json:"why"`
	Removed bool   `json:"removed"`
	Error   string `json:"error,omitempty"`
}

func newIncidentsSweepCmd(f *incidentsFlags) *cobra.Command {
	var older time.Duration
	var dry bool
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Remove what attempts to store incidents have left behind",
		Long: "Remove objects in bundles' folders that no manifest names, and uploads that were never completed. A folder with\n" +
			"anything in it younger than --older is left alone, since an attempt may be under way, and so is whatever is not\n" +
			"of a bundle.",
		Args: cobra.NoArgs,
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			if older < 0 {
				return exitWith(exitUsage, fmt.Errorf("--older %v: give an age, such as 24h", older))
			}
			a, err := f.open(ctx)
			if err != nil {
				return err
			}
			if older < upload.MaxAttempt && !dry {
				fmt.Fprintf(cmd.ErrOrStderr(), "ringside: --older %v takes packets too whose manifest a recorder may still be about to write: "+
					"give %v or more while any recorder stores incidents\n", older, upload.MaxAttempt)
			}
			var foreign []string
			rows, err := sweepStore(ctx, a, upload.SweepOptions{
				Before: time.Now().Add(-older), DryRun: dry, Foreign: func(key string) { foreign = append(foreign, key) },
			})
			if f.json {
				err = errors.Join(err, writeJSON(cmd.OutOrStdout(), map[string]any{"swept": append([]sweptRow{}, rows...)}))
			} else {
				err = errors.Join(err, printSwept(cmd.OutOrStdout(), rows, dry))
			}
			tellForeign(cmd.ErrOrStderr(), foreign)
			for _, r := range rows {
				if r.Error != "" && err == nil {
					err = errors.New("not everything could be swept")
				}
			}
			return err
		}),
	}
	cmd.Flags().DurationVar(&older, "older", 24*time.Hour, "age from which an attempt is taken for dead")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be removed")
	return cmd
}

func sweepStore(ctx context.Context, a *upload.Archive, o upload.SweepOptions) (rows []sweptRow, err error) {
	for s, err := range a.Sweep(ctx, o) {
		if err != nil {
			return rows, err
		}
		r := sweptRow{Key: s.Key, Bytes: s.Bytes, Why: s.Why, Removed: s.Err == nil && !o.DryRun}
		if s.Err != nil {
			r.Error = s.Err.Error()
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func printSwept(out io.Writer, rows []sweptRow, dry bool) error {
	verb := "removed"
	if dry {
		verb = "would remove"
	}
	removed, bytes := 0, int64(0)
	t := newTable(out)
	for _, r := range rows {
		text := r.Why
		if r.Error != "" {
			text = fmt.Sprintf("not removed: %s (%s)", printable(r.Error), r.Why)
		} else {
			removed, bytes = removed+1, bytes+r.Bytes
		}
		t.row(r.Key, size(r.Bytes), text)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s: %d, %s\n", verb, removed, size(bytes))
	return err
}
