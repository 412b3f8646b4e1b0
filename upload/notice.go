package upload

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
)

// Events of notices.
const (
	eventStored  = "stored"
	eventFailing = "failing"
)

// noticeVersion is the version of notice. Fields may be added within a version.
const noticeVersion = 1

// notice is what the webhook is told, as JSON.
type notice struct {
	Version  int         `json:"version"`
	Event    string      `json:"event"`
	Incident string      `json:"incident"`
	Cluster  string      `json:"cluster"`
	Node     string      `json:"node"`
	Reasons  []string    `json:"reasons"` // of all triggers, each once
	Window   rotate.Span `json:"window"`
	Store    string      `json:"store"`

	// stored
	Packets  *uint64  `json:"packets,omitempty"`
	Complete *bool    `json:"complete,omitempty"`
	Bytes    int64    `json:"bytes,omitempty"` // of all objects; when failing, of the pin
	Manifest string   `json:"manifest,omitempty"`
	Verdict  *Verdict `json:"verdict,omitempty"` // of the report, if there is one

	// failing
	Since *time.Time `json:"failing_since,omitempty"`
	Error string     `json:"error,omitempty"`
}

func storedNotice(m *Manifest, s trigger.Stored, store string) notice {
	return notice{
		Version: noticeVersion, Event: eventStored, Incident: m.Incident, Cluster: m.Cluster, Node: m.Node,
		Reasons: reasons(m.Triggers), Window: m.Window.Asked, Store: store,
		Packets: &m.Window.Coverage.Packets, Complete: &m.Window.Complete, Bytes: s.Bytes, Manifest: s.Manifest, Verdict: m.Verdict,
	}
}

func failingNotice(i trigger.Incident, cluster, node, store string) notice {
	return notice{
		Version: noticeVersion, Event: eventFailing, Incident: i.ID, Cluster: cluster, Node: node,
		Reasons: reasons(i.Triggers), Window: rotate.Span{From: i.From, To: i.To}, Store: store,
		Bytes: i.Pinned, Since: &i.Since, Error: i.Error,
	}
}

func reasons(triggers []trigger.Trigger) []string {
	list := make([]string, 0, 1)
	for _, t := range triggers {
		if !slices.Contains(list, t.Reason) {
			list = append(list, t.Reason)
		}
	}
	return list
}

// body is the notice in the format that the webhook takes.
func (n notice) body(format string) ([]byte, error) {
	if format == FormatSlack {
		return json.Marshal(map[string]string{"text": slackEscape.Replace(n.text())})
	}
	return json.Marshal(n)
}

// slackEscape is all that Slack's text needs; without it, a reason could mention people or link elsewhere.
var slackEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// text is the notice for people.
func (n notice) text() string {
	window := fmt.Sprintf("%s to %s", n.Window.From.UTC().Format(time.RFC3339), n.Window.To.UTC().Format(time.RFC3339))
	what := fmt.Sprintf("%s on %s (%s)", strings.Join(n.Reasons, ", "), n.Node, n.Cluster)
	if n.Event == eventFailing {
		return fmt.Sprintf("Ringside cannot store %s: %s\nIncident %s, %s, failing since %s: %s\nThe packets are kept on the node.",
			what, n.Store, n.Incident, window, n.Since.UTC().Format(time.RFC3339), n.Error)
	}
	state := "complete"
	if !*n.Complete {
		state = "with gaps"
	}
	text := fmt.Sprintf("Ringside has stored %s: %d packets, %s, %.1f MiB\nIncident %s, %s\nringside incidents get %s --store %s",
		what, *n.Packets, state, float64(n.Bytes)/(1<<20), n.Incident, window, n.Incident, n.Store)
	if n.Verdict != nil { // first what people want to know first
		text = fmt.Sprintf("%s: %s\n", n.Verdict.Class, n.Verdict.Sentence) + text
	}
	return text
}
