package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// unfinishedAge is the age, by its id, from which a bundle without a manifest is taken for one that was given up.
const unfinishedAge = 24 * time.Hour

func newIncidentsVerifyCmd(f *incidentsFlags) *cobra.Command {
	var w which
	cmd := &cobra.Command{
		Use:   "verify [ID]",
		Short: "Read every object and compare its hash, and check that no manifest was changed or taken away",
		Long: "Read all objects of an incident, or of the whole store, and compare their SHA-256 with the manifests', as stored\n" +
			"and decompressed. Each manifest names the hash of the one that its node stored before: that is checked too.\n" +
			"A line for each object that is not right; exit code 1 if there is one.",
		Args: cobra.MaximumNArgs(1),
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			a, err := f.open(ctx)
			if err != nil {
				return err
			}
			v := verifier{archive: a, out: cmd.OutOrStdout(), errOut: cmd.ErrOrStderr(), json: f.json, now: time.Now()}
			if len(args) == 1 {
				err = v.incident(ctx, w, args[0])
			} else {
				err = v.store(ctx, w)
			}
			if err != nil && v.Bundles == 0 {
				return err
			}
			return errors.Join(err, v.report())
		}),
	}
	w.flags(cmd)
	return cmd
}

// verifier collects what is wrong.
type verifier struct {
	archive     *upload.Archive
	out, errOut io.Writer
	json        bool
	now         time.Time
	chain       upload.Chain
	verifyReport
}

// verifyReport is the answer of `incidents verify --json`.
type verifyReport struct {
	Bundles  int      `json:"bundles"`
	Objects  int      `json:"objects"`
	Bytes    int64    `json:"bytes"` // as stored
	Problems []string `json:"problems"`
	Notes    []string `json:"notes"` // worth knowing, and no damage
}

func (v *verifier) incident(ctx context.Context, w which, id string) error {
	list, err := w.find(ctx, v.archive, id)
	if err != nil {
		return err
	}
	for _, b := range list {
		if err := v.bundle(ctx, b); err != nil {
			return err
		}
		if err := v.archive.AddPrevious(ctx, &v.chain, b); err != nil {
			v.problem(fmt.Errorf("the manifest before that of %s: %w", b.Incident, err))
		}
	}
	return nil
}

func (v *verifier) store(ctx context.Context, w which) error {
	q := upload.Query{Cluster: w.cluster, Node: w.node, Foreign: func(key string) {
		v.note("%s belongs to no bundle", printable(key))
	}}
	for b, err := range v.archive.List(ctx, q) {
		if err == nil {
			err = v.bundle(ctx, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bundle verifies one bundle. An error is that of an interruption alone.
func (v *verifier) bundle(ctx context.Context, b upload.Bundle) error {
	v.Bundles++
	if at, _ := trigger.IDTime(b.Incident); errors.Is(b.Problem, upload.ErrUnfinished) && v.now.Sub(at) < unfinishedAge {
		v.note("%s: %v", b.Prefix(), b.Problem)
		return nil
	}
	v.chain.Add(b)
	if b.Manifest != nil {
		v.Objects += len(b.Manifest.Objects)
		for _, o := range b.Manifest.Objects {
			v.Bytes += o.Bytes
		}
	}
	p := newProgress(v.errOut, b.Incident+" "+b.Node)
	err := v.archive.Verify(ctx, b, p.show)
	p.end()
	if ctx.Err() != nil {
		return errors.New("interrupted: not everything was verified")
	}
	v.problem(err)
	return nil
}

// problem keeps an error, one for each object if it joins several.
func (v *verifier) problem(err error) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range several.Unwrap() {
			v.problem(e)
		}
		return
	}
	if err != nil {
		v.Problems = append(v.Problems, printable(err.Error()))
	}
}

func (v *verifier) note(format string, args ...any) {
	v.Notes = append(v.Notes, fmt.Sprintf(format, args...))
}

// report prints what was found, and returns an error if anything is wrong.
func (v *verifier) report() error {
	for _, err := range v.chain.Check() {
		if errors.Is(err, upload.ErrDamaged) {
			v.problem(err)
		} else {
			v.note("%v", err)
		}
	}
	if v.json {
		v.Problems, v.Notes = append([]string{}, v.Problems...), append([]string{}, v.Notes...)
		if err := writeJSON(v.out, v.verifyReport); err != nil {
			return err
		}
	} else {
		for _, text := range v.Problems {
			fmt.Fprintln(v.out, "bad:  ", text)
		}
		for _, text := range v.Notes {
			fmt.Fprintln(v.out, "note: ", text)
		}
		fmt.Fprintf(v.out, "bundles %d, objects %d, read %s, problems %d\n", v.Bundles, v.Objects, size(v.Bytes), len(v.Problems))
	}
	if len(v.Problems) > 0 {
		return errors.New("not everything in the store is what its manifests say")
	}
	return nil
}
