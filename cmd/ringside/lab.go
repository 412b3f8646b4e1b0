package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/lab"
)

// labFlags say what the laboratory reproduces.
type labFlags struct {
	scenario, variant, keep string
	family, runs            int
	seed                    uint64
	json, list              bool
}

const allScenarios = "all"

func newLabCmd() *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Reproduce the incident, or what looks like it, in namespaces, with the recorder inside",
		Long: "Build pods, a node and servers in namespaces of their own, run traffic between them, record it with this very\n" +
			"program, bring a fault about, and show what happened and what was recorded. Nothing of the machine is touched, and\n" +
			"nothing is left behind. It needs root, and at most 20 seconds a scenario.\n" +
			"Exit code: 0 everything that must be seen was and the verdict is right, 1 not so, 3 the scenario cannot run here.",
		Example: "  sudo ringside lab\n" +
			"  sudo ringside lab --scenario conntrack-flush --keep ./flush\n" +
			"  sudo ringside lab --scenario all --json",
		Args: cobra.NoArgs,
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			if f.list {
				return listScenarios(cmd.OutOrStdout(), f.json)
			}
			return f.run(ctx, cmd)
		}),
	}
	p := cmd.Flags()
	p.StringVar(&f.scenario, "scenario", "address-bounce", "which one, or all, each in all its variants")
	p.StringVar(&f.variant, "variant", "", "one way for it to happen (default: the first; see --list)")
	p.IntVar(&f.family, "family", 0, "4 or 6: IPv4 or IPv6 (default: drawn)")
	p.Uint64Var(&f.seed, "seed", 0, "of everything that is random (default: drawn, and shown)")
	p.IntVar(&f.runs, "runs", 1, "how often, each with another seed")
	p.StringVar(&f.keep, "keep", "", "directory for bundle, configuration, log and result of each run")
	p.BoolVar(&f.json, "json", false, "results as JSON; of several runs, one a line, and then their summary")
	p.BoolVar(&f.list, "list", false, "show the scenarios and their variants")
	return cmd
}

// labRun is one run that was asked for.
type labRun struct{ scenario, variant string }

// plan is what is to be run, in order.
func (f *labFlags) plan() (list []labRun, err error) {
	if f.runs < 1 {
		return nil, errors.New("--runs: write 1 or more")
	}
	if f.scenario != allScenarios {
		if _, err := lab.Find(f.scenario); err != nil {
			return nil, err
		}
		list = []labRun{{f.scenario, f.variant}}
	} else if f.variant != "" {
		return nil, errors.New("--variant is of one scenario: name that with --scenario")
	}
	for _, s := range lab.Scenarios() {
		if f.scenario != allScenarios {
			break
		}
		for _, v := range s.Variants {
			list = append(list, labRun{s.Name, v.Name})
		}
		if len(s.Variants) == 0 {
			list = append(list, labRun{s.Name, ""})
		}
	}
	one := list
	for range f.runs - 1 {
		list = append(list, one...)
	}
	return list, nil
}

func (f *labFlags) run(ctx context.Context, cmd *cobra.Command) error {
	list, err := f.plan()
	if err != nil {
		return exitWith(exitUsage, err)
	}
	if os.Geteuid() != 0 {
		return exitWith(exitUsage, errors.New("the laboratory makes namespaces, which needs root: sudo ringside lab"))
	}
	failed, skipped := 0, 0
	var all lab.Summary
	for n, r := range list {
		seed := f.seed + uint64(n)
		if f.seed == 0 {
			seed = rand.Uint64N(1e6) + 1
		}
		result, err := lab.Run(ctx, f.options(cmd, r, seed, len(list) > 1))
		var not *lab.Skipped
		switch {
		case ctx.Err() != nil:
			return errors.New("interrupted: nothing is left behind")
		case errors.As(err, &not):
			fmt.Fprintf(cmd.ErrOrStderr(), "%s %s: %v\n", r.scenario, r.variant, err)
			skipped++
			continue
		case err != nil:
			return fmt.Errorf("%w (seed %d)", err, seed)
		}
		if !result.Passed {
			failed++
		}
		all.Add(result)
		if err := f.show(cmd.OutOrStdout(), result, len(list) > 1); err != nil {
			return err
		}
	}
	if len(list) > 1 {
		if err := f.sum(cmd.OutOrStdout(), &all); err != nil {
			return err
		}
	}
	switch {
	case failed > 0:
		return fmt.Errorf("%d of %d runs did not show what they must", failed, len(list))
	case skipped == len(list):
		return exitWith(exitUnknown, errors.New("nothing could be run here"))
	}
	return nil
}

func (f *labFlags) options(cmd *cobra.Command, r labRun, seed uint64, many bool) lab.Options {
	o := lab.Options{Scenario: r.scenario, Variant: r.variant, Family: f.family, Seed: seed, Keep: f.keep, Daemon: thisDaemon}
	if f.keep != "" && many {
		o.Keep = filepath.Join(f.keep, fmt.Sprintf("%s-%s-%d", r.scenario, r.variant, seed))
	}
	if out, ok := cmd.ErrOrStderr().(*os.File); ok && isTerminal(out) && !f.json {
		o.Progress = func(p lab.Progress) { fmt.Fprintf(out, "%6.1fs  %s\n", p.After.Seconds(), p.Text) }
	}
	return o
}

// thisDaemon is the recorder: this program.
func thisDaemon(ctx context.Context, config string) *exec.Cmd {
	return exec.CommandContext(ctx, "/proc/self/exe", "run", "-c", config)
}

func (f *labFlags) show(out io.Writer, r *lab.Result, many bool) error {
	switch {
	case f.json && many:
		return json.NewEncoder(out).Encode(r)
	case f.json:
		return writeJSON(out, r)
	}
	file, ok := out.(*os.File)
	return lab.WriteReport(out, r, ok && isTerminal(file))
}

// sum shows what many runs came to.
func (f *labFlags) sum(out io.Writer, all *lab.Summary) error {
	if !f.json {
		return lab.WriteSummary(out, all)
	}
	return json.NewEncoder(out).Encode(struct {
		*lab.Summary `json:"summary"`
	}{all})
}

// listScenarios shows what can be reproduced.
func listScenarios(out io.Writer, asJSON bool) error {
	type row struct {
		Scenario string       `json:"scenario"`
		Variants []string     `json:"variants,omitempty"`
		Class    detect.Class `json:"class"`
		Title    string       `json:"title"`
	}
	var rows []row
	for _, s := range lab.Scenarios() {
		r := row{Scenario: s.Name, Class: s.Class, Title: s.Title}
		for _, v := range s.Variants {
			r.Variants = append(r.Variants, v.Name)
		}
		rows = append(rows, r)
	}
	if asJSON {
		return writeJSON(out, rows)
	}
	for _, r := range rows {
		fmt.Fprintf(out, "%-20s  %-22s  %s\n", r.Scenario, r.Class, r.Title)
		for _, v := range r.Variants {
			fmt.Fprintf(out, "    --variant %s\n", v)
		}
	}
	return nil
}
