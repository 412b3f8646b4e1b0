package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/trigger"
)

// triggerFlags are what is asked for, as the user wrote it: the daemon reads times by its own clock.
type triggerFlags struct {
	ID     string            `json:"id,omitempty"`
	Reason string            `json:"reason,omitempty"`
	At     string            `json:"at,omitempty"`
	Pre    string            `json:"pre,omitempty"`
	Post   string            `json:"post,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`

	labels            []string
	server, tokenFile string
	wait, json        bool
}

func newTriggerCmd() *cobra.Command {
	var f triggerFlags
	cmd := &cobra.Command{
		Use:   "trigger",
		Short: "Keep the packets around a moment: freeze the window and have it stored",
		Long: "Ask the recorder to keep the packets from before and after a moment, and to store them. When this command has printed\n" +
			"an id, they are safe from retention and crashes; with --wait it ends when they are in the store.",
		Example: "  ringside trigger --reason 'orders hang' --at -5m --label ticket=4711\n" +
			"  ringside incidents get $(ringside trigger --wait)",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("trigger takes no arguments: write --reason %q", strings.Join(args, " "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	p := cmd.Flags()
	p.StringVar(&f.Reason, "reason", "", "what happened, in a few words (default manual)")
	p.StringVar(&f.At, "at", "", "when: RFC 3339, now, or -5m (default now)")
	p.StringVar(&f.Pre, "pre", "", "how long before it, such as 2m (default: trigger.pre of the recorder)")
	p.StringVar(&f.Post, "post", "", "how long after it, such as 1m (default: trigger.post of the recorder)")
	p.StringArrayVar(&f.labels, "label", nil, "KEY=VALUE that helps to find it again; may be repeated")
	p.StringVar(&f.ID, "id", "", "id of the trigger, to repeat one safely or to name one incident on several nodes (default: a new one)")
	p.BoolVar(&f.wait, "wait", false, "wait until it is stored")
	p.StringVar(&f.server, "server", defaultServer, "the daemon: unix:///PATH, http://ADDRESS or https://ADDRESS")
	p.StringVar(&f.tokenFile, "token-file", "", "file with the token for a --server over TCP")
	p.BoolVar(&f.json, "json", false, "answer in JSON")
	return cmd
}

func (f *triggerFlags) run(cmd *cobra.Command) error {
	body, err := f.body()
	if err != nil {
		return exitWith(exitUsage, err)
	}
	c, err := newClient(f.server, f.tokenFile)
	if err != nil {
		return exitWith(exitUsage, err)
	}
	var r trigger.Receipt
	if err := c.post(cmd.Context(), "/v1/triggers", body, &r); err != nil {
		return err
	}
	out, errOut := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if !f.json {
		fmt.Fprintln(out, r.ID)
		describeReceipt(errOut, r, time.Now())
	} else if !f.wait {
		return writeJSON(out, r)
	}
	if !f.wait {
		return nil
	}
	stored, err := (&waiter{client: c, id: r.Incident, window: r.To, status: newStatus(errOut)}).run(cmd.Context())
	if err != nil {
		return err
	}
	if f.json {
		return writeJSON(out, stored)
	}
	fmt.Fprintf(errOut, "stored: %s, %s\nringside incidents get %s gets it\n", stored.Local.Stored.Manifest, size(stored.Local.Stored.Bytes), stored.ID)
	return nil
}

// body is the request. What the daemon would refuse whatever its clock says is an error here.
func (f *triggerFlags) body() ([]byte, error) {
	f.Labels = make(map[string]string)
	for _, l := range f.labels {
		key, value, ok := strings.Cut(l, "=")
		if !ok {
			return nil, fmt.Errorf("--label %q: write KEY=VALUE", l)
		}
		if _, twice := f.Labels[key]; twice {
			return nil, fmt.Errorf("--label %q: the key is given twice: remove one", l)
		}
		f.Labels[key] = value
	}
	body, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	_, err = trigger.Parse(body, time.Now())
	return body, err
}

// describeReceipt says what was promised. The id alone goes to stdout, for scripts.
func describeReceipt(w io.Writer, r trigger.Receipt, now time.Time) {
	const format = "2006-01-02 15:04:05"
	if r.Merged {
		fmt.Fprintf(w, "joined incident %s, whose window it shares\n", r.Incident)
	}
	fmt.Fprintf(w, "kept: %s to %s UTC", r.From.UTC().Format(format), r.To.UTC().Format(format))
	if left := r.To.Sub(now); left > 0 {
		fmt.Fprintf(w, ", the window ends in %v", left.Round(time.Second))
	}
	fmt.Fprintln(w)
}

var errLostSight = errors.New("the recorder does not know the incident any more: see ringside incidents ls")
