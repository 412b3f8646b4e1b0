package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/evidence"
)

// validateFlags say which time is validated, from what, and how the answer is given.
type validateFlags struct {
	incidentsFlags
	which
	from, to, spool   string
	services, classes []string
	html              string
}

func newValidateCmd() *cobra.Command {
	var f validateFlags
	cmd := &cobra.Command{
		Use:   "validate --from T --to T",
		Short: "Say whether a stretch of time was recorded in full and was clean, as a certificate",
		Long: "Look through everything that was recorded in a stretch of time: was every second of every interface recorded, was\n" +
			"every service seen, and did a signature fire (docs/verdicts.md has them). It reads this node's spool, also while the\n" +
			"recorder runs, or, with --store, the bundles that overlap that time, each verified and looked at anew.\n\n" +
			"Exit code 0: recorded in full, and clean. 1: a signature fired. 3: none fired, and too little was recorded to say that\n" +
			"none would have, which includes a service of which no packet was seen.",
		Example: "  ringside validate --from 2026-11-22T01:00:00Z --to 2026-11-22T05:00:00Z --service postgres --service redis\n" +
			"  ringside validate --from -8h --to now --html night.html --json >night.json\n" +
			"  ringside validate --from -8h --to now --store s3://bucket/prefix --node ip-10-0-1-7",
		Args: cobra.NoArgs,
		RunE: interruptible(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			return f.run(ctx, cmd)
		}),
	}
	p := cmd.Flags()
	p.StringVar(&f.from, "from", "", "beginning: RFC 3339, now, or -8h")
	p.StringVar(&f.to, "to", "", "end")
	p.StringVar(&f.spool, "spool", "", "directory of the spool, or of a pin in it (default: rotate.dir of the configuration)")
	p.StringArrayVar(&f.services, "service", nil, "a service that must have been seen; may be repeated (default: those of the configuration)")
	p.StringArrayVar(&f.classes, "class", nil, "only a finding of this class counts, such as conntrack-loss; may be repeated (default: all)")
	p.StringVar(&f.html, "html", "", "also write the certificate as a page to this file")
	p.BoolVar(&f.json, "json", false, "print the certificate")
	f.which.flags(cmd)
	f.storeFlags(cmd)
	cmd.PersistentFlags().Lookup("store").Usage = "validate the bundles in s3://BUCKET/PREFIX, or in a directory, instead of a spool"
	return cmd
}

func (f *validateFlags) run(ctx context.Context, cmd *cobra.Command) error {
	cfg, err := config.Load(f.config)
	if err != nil {
		return err
	}
	v := validation{names: detectServices(cfg.Capture.Services), progress: newProgress(cmd.ErrOrStderr(), "")}
	if v.asked, err = f.asked(cfg, time.Now()); err != nil {
		return exitWith(exitUsage, err)
	}
	var source string
	if f.store != "" {
		source, err = f.bundles(ctx, &v)
	} else {
		source, err = f.window(ctx, &v, cfg)
	}
	v.progress.end()
	if err != nil {
		return err
	}
	c := evidence.Certify(v.asked, v.recordings)
	c.Created, c.Program, c.Source = time.Now().UTC().Round(0), "ringside "+version, source
	return f.answer(c, cmd.OutOrStdout())
}

// asked checks the flags.
func (f *validateFlags) asked(cfg *config.Config, now time.Time) (a evidence.Asked, err error) {
	switch {
	case f.from == "" || f.to == "":
		return a, errors.New("which time? give --from and --to: RFC 3339, now, or -8h")
	case f.store != "" && f.spool != "":
		return a, errors.New("--store and --spool are two recordings: give one of them")
	case f.store == "" && (f.node != "" || f.cluster != ""):
		return a, errors.New("--node and --cluster choose bundles: add --store; a spool is of one node")
	}
	if a.From, err = parseTime(f.from, now); err != nil {
		return a, fmt.Errorf("--from: %w", err)
	}
	if a.To, err = parseTime(f.to, now); err != nil {
		return a, fmt.Errorf("--to: %w", err)
	}
	a.From, a.To = a.From.UTC().Round(0), a.To.UTC().Round(0)
	switch {
	case !a.From.Before(a.To):
		return a, fmt.Errorf("--from %s is not before --to %s", exact(a.From), exact(a.To))
	case a.To.After(now):
		return a, fmt.Errorf("--to %s has not come yet: it is %s", exact(a.To), exact(now))
	}
	for _, s := range f.classes {
		if c := detect.Class(s); c == detect.None || !slices.Contains(append(slices.Clone(detect.Classes), detect.StateLost, detect.Suspect), c) {
			return a, fmt.Errorf("--class %s: there is no such class; there are %s", s, classNames())
		}
		a.Classes = append(a.Classes, detect.Class(s))
	}
	a.Services, err = f.wanted(cfg)
	return a, err
}

// wanted are the services that must have been seen.
func (f *validateFlags) wanted(cfg *config.Config) (names []string, err error) {
	var known, uncounted []string
	for _, s := range cfg.Capture.Services {
		known = append(known, s.Name)
		if s.Expression != "" {
			uncounted = append(uncounted, s.Name)
		}
	}
	names = f.services
	if len(names) == 0 {
		names = known
	}
	for _, name := range names {
		switch {
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("--service %s: the configuration records %s; name its file with -c", name, strings.Join(known, ", "))
		case slices.Contains(uncounted, name):
			return nil, fmt.Errorf("service %s is a filter expression, whose packets are not counted: name the others with --service", name)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names))), nil
}

func classNames() string {
	var names []string
	for _, c := range append(slices.Clone(detect.Classes), detect.StateLost, detect.Suspect) {
		if c != detect.None {
			names = append(names, string(c))
		}
	}
	return strings.Join(names, ", ")
}

// answer gives the certificate out, and the exit code that its result has.
func (f *validateFlags) answer(c *evidence.Certificate, out io.Writer) error {
	if f.html != "" {
		if err := writeCertificate(f.html, c); err != nil {
			return err
		}
	}
	if f.json {
		text, err := c.Text()
		if err == nil {
			_, err = out.Write(text)
		}
		if err != nil {
			return err
		}
	} else if err := printCertificate(out, c); err != nil {
		return err
	}
	switch c.Result {
	case evidence.Fired:
		return exitWith(exitFailed, errors.New("a signature fired"))
	case evidence.NotCovered:
		return exitWith(exitUnknown, errors.New("not covered enough to call it clean"))
	}
	return nil
}

// writeCertificate writes the certificate's page to path, which appears when it is complete.
func writeCertificate(path string, c *evidence.Certificate) error {
	w, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(w.Name())
	if err := errors.Join(w.Chmod(0o644), evidence.WriteCertificateHTML(w, c), w.Close()); err != nil {
		return err
	}
	return os.Rename(w.Name(), path)
}
