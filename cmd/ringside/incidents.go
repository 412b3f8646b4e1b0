package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// storeVariable names the store in the environment, for people who look into the same one all day.
const storeVariable = "RINGSIDE_STORE"

// incidentsFlags say which store the commands look into, and how they answer.
type incidentsFlags struct {
	store, config            string
	endpoint, region, caFile string
	pathStyle                bool
	json                     bool
}

func newIncidentsCmd() *cobra.Command {
	var f incidentsFlags
	cmd := &cobra.Command{
		Use:     "incidents",
		Aliases: []string{"incident"},
		Short:   "Find, fetch and verify recorded incidents; works on the store alone",
		Long: "Incidents lie in a store, a directory or S3, one bundle for each node: a manifest and the objects it names.\n" +
			"These commands need nothing but that store. For S3, credentials and whatever else is not given here come from\n" +
			"where the AWS tools take them: environment, ~/.aws, or the role of the machine or pod.",
		Example: "  export " + storeVariable + "=s3://bucket/prefix\n" +
			"  ringside incidents ls --from -24h\n" +
			"  ringside incidents get 20261122T190001.123456Z-0a1b2c3d -o - | tshark -r -",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f.storeFlags(cmd)
	cmd.PersistentFlags().BoolVar(&f.json, "json", false, "answer in JSON: an array of ls, an object of the others")
	cmd.AddCommand(newIncidentsLsCmd(&f), newIncidentsShowCmd(&f), newIncidentsGetCmd(&f), newIncidentsOpenCmd(&f),
		newIncidentsVerifyCmd(&f), newIncidentsRmCmd(&f), newIncidentsSweepCmd(&f))
	return cmd
}

// storeFlags name the store, and how to get at it.
func (f *incidentsFlags) storeFlags(cmd *cobra.Command) {
	p := cmd.PersistentFlags()
	p.StringVar(&f.store, "store", "", "s3://BUCKET/PREFIX, or a directory (default: $"+storeVariable+", else upload.to of the configuration)")
	p.StringVarP(&f.config, "config", "c", "", "configuration file")
	p.StringVar(&f.endpoint, "endpoint", "", "URL of an S3-compatible server")
	p.StringVar(&f.region, "region", "", "region of the bucket")
	p.StringVar(&f.caFile, "ca-file", "", "PEM file of certificates to trust for the endpoint")
	p.BoolVar(&f.pathStyle, "path-style", false, "put the bucket into the path, as most S3-compatible servers want it")
}

// interruptible runs do with a context that ends at the first signal, so that temporary files are removed; the second
// one ends the process. A reader of the output that goes away is an error of the write, not the end of the process.
func interruptible(do func(ctx context.Context, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop)
		pipe := make(chan os.Signal, 1)
		signal.Notify(pipe, syscall.SIGPIPE)
		defer signal.Stop(pipe)
		err := do(ctx, cmd, args)
		if errors.Is(err, syscall.EPIPE) {
			return nil
		}
		return err
	}
}

// open opens the store that flags, environment or configuration name.
func (f *incidentsFlags) open(ctx context.Context) (*upload.Archive, error) {
	cfg, err := f.settings()
	if err != nil {
		return nil, err
	}
	store, err := upload.OpenStore(ctx, cfg, nil)
	if err != nil {
		return nil, exitWith(exitUsage, err)
	}
	return upload.NewArchive(store), nil
}

// named says whether whoever runs the command has named the store.
func (f *incidentsFlags) named() bool { return f.store != "" || os.Getenv(storeVariable) != "" }

func (f *incidentsFlags) settings() (upload.Config, error) {
	c, err := config.Load(f.config)
	if err != nil {
		return upload.Config{}, err
	}
	cfg := c.Upload
	if v := os.Getenv(storeVariable); v != "" {
		cfg.To = v
	}
	if f.store != "" {
		cfg.To = f.store
	}
	if !strings.Contains(cfg.To, "://") { // a path, as people type it
		path, err := filepath.Abs(cfg.To)
		if err != nil {
			return cfg, err
		}
		cfg.To = "file://" + path
	}
	for _, v := range []struct {
		flag string
		to   *string
	}{{f.endpoint, &cfg.S3.Endpoint}, {f.region, &cfg.S3.Region}, {f.caFile, &cfg.S3.CAFile}} {
		if v.flag != "" {
			*v.to = v.flag
		}
	}
	cfg.S3.PathStyle = cfg.S3.PathStyle || f.pathStyle
	return cfg, nil
}

// which selects bundles of an incident.
type which struct{ node, cluster string }

func (w *which) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.node, "node", "", "only the bundle of this node")
	cmd.Flags().StringVar(&w.cluster, "cluster", "", "only bundles of this cluster")
}

// find returns the bundles of the incident, or of the trigger that was merged into one.
func (w *which) find(ctx context.Context, a *upload.Archive, id string) ([]upload.Bundle, error) {
	if _, ok := trigger.IDTime(id); !ok {
		return nil, exitWith(exitUsage, fmt.Errorf("%q is no id of an incident: ringside incidents ls lists them", id))
	}
	all, err := a.Find(ctx, id)
	if errors.Is(err, upload.ErrNotFound) {
		return nil, fmt.Errorf("%w\nringside incidents ls lists what there is; what a node has not stored yet, only on that node", err)
	}
	if err != nil {
		return nil, err
	}
	var wanted []upload.Bundle
	for _, b := range all {
		if (w.node == "" || w.node == b.Node) && (w.cluster == "" || w.cluster == b.Cluster) {
			wanted = append(wanted, b)
		}
	}
	if len(wanted) == 0 {
		return nil, exitWith(exitUsage, fmt.Errorf("%s has bundles of %s alone", id, nodeNames(all)))
	}
	return wanted, nil
}

// nodeNames lists the bundles' nodes, with their clusters if there are several.
func nodeNames(list []upload.Bundle) string {
	clusters, names := map[string]bool{}, []string{}
	for _, b := range list {
		clusters[b.Cluster] = true
	}
	for _, b := range list {
		name := b.Node
		if len(clusters) > 1 {
			name += " (cluster " + b.Cluster + ")"
		}
		names = append(names, name)
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), ", ")
}

// uncovered is the exit of what was asked for when nothing at all was recorded in its window.
func uncovered(list []upload.Bundle) error {
	for _, b := range list {
		if b.Manifest == nil || covered(&b.Manifest.Window.Coverage) {
			return nil
		}
	}
	return exitWith(exitUnknown, errors.New("nothing was recorded in this window: what happened then cannot be told from it"))
}

func covered(c *rotate.Coverage) bool {
	return c.Packets > 0 || slices.ContainsFunc(c.Rings, func(r rotate.RingCoverage) bool { return len(r.Covered) > 0 })
}

// printable is text of others, fit for a terminal: whatever could move the cursor or change colours is quoted.
func printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			q := strconv.Quote(s)
			return q[1 : len(q)-1]
		}
	}
	return s
}
