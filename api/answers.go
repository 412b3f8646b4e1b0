package api

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// Incidents answers GET /v1/incidents.
type Incidents struct {
	Incidents  []Incident           `json:"incidents"`           // the newest first
	More       bool                 `json:"more"`                // there are older ones than the limit let through
	Store      *StoreState          `json:"store,omitempty"`     // nil if it was not asked
	Suppressed []trigger.Suppressed `json:"suppressed,omitzero"` // nil if not asked for
}

// Incident is one incident as this node and the store know it.
type Incident struct {
	ID      string            `json:"id"`
	State   trigger.State     `json:"state"` // this node's; else stored, or StateDamaged
	From    time.Time         `json:"from,omitzero"`
	To      time.Time         `json:"to,omitzero"`
	Reasons []string          `json:"reasons"`
	Local   *trigger.Incident `json:"local,omitempty"` // nil if this node knows nothing of it
	Bundles []Bundle          `json:"bundles"`         // in the store, by cluster and node
	Store   *StoreState       `json:"store,omitempty"` // in the answer to GET /v1/incidents/{id}
}

// StateDamaged is the state of an incident that this node does not know, and of which the store has no good manifest.
const StateDamaged trigger.State = "damaged"

// Bundle is what one node stored of an incident. Without a good manifest only Problem is set.
type Bundle struct {
	Incident string          `json:"incident,omitempty"` // only if it is another's, which the trigger was merged into on that node
	Cluster  string          `json:"cluster"`
	Node     string          `json:"node"`
	Created  time.Time       `json:"created,omitzero"`
	From     time.Time       `json:"from,omitzero"` // of the window, as asked
	To       time.Time       `json:"to,omitzero"`
	Packets  uint64          `json:"packets"`
	Complete bool            `json:"complete"`         // nothing is missing in the window
	Bytes    int64           `json:"bytes"`            // of all objects, as stored
	SHA256   string          `json:"sha256,omitempty"` // of the manifest
	Problem  string          `json:"problem,omitempty"`
	Manifest json.RawMessage `json:"manifest,omitempty"` // in the answer to GET /v1/incidents/{id}
}

// StoreState says whether bundles in the store could be looked for.
type StoreState struct {
	URL   string `json:"url,omitempty"`
	Error string `json:"error,omitempty"` // then bundles are missing
}

// ofNode is an incident as this node knows it.
func ofNode(i trigger.Incident) *Incident {
	return &Incident{ID: i.ID, State: i.State, From: i.From, To: i.To, Reasons: addReasons([]string{}, i.Triggers), Local: &i, Bundles: []Bundle{}}
}

// ofStore is an incident of which nothing but its id is known yet.
func ofStore(id string) *Incident {
	return &Incident{ID: id, State: StateDamaged, Reasons: []string{}, Bundles: []Bundle{}}
}

// add adds what the store has of one node.
func (i *Incident) add(b upload.Bundle, whole bool) {
	out := Bundle{Cluster: b.Cluster, Node: b.Node}
	if b.Incident != i.ID {
		out.Incident = b.Incident
	}
	if m := b.Manifest; m != nil {
		sum := sha256.Sum256(b.Raw)
		out.Created, out.From, out.To, out.SHA256 = m.Created, m.Window.Asked.From, m.Window.Asked.To, hex.EncodeToString(sum[:])
		out.Packets, out.Complete = m.Window.Coverage.Packets, m.Window.Complete
		for _, o := range m.Objects {
			out.Bytes += o.Bytes
		}
		if whole {
			out.Manifest = b.Raw
		}
		i.Reasons = addReasons(i.Reasons, m.Triggers)
		if i.Local == nil {
			i.State, i.From, i.To = trigger.StateStored, earlier(i.From, out.From), later(i.To, out.To)
		}
	} else {
		out.Problem = "the manifest is missing: the bundle may still be on its way"
		if b.Problem != nil {
			out.Problem = b.Problem.Error()
		}
	}
	i.Bundles = append(i.Bundles, out)
	slices.SortStableFunc(i.Bundles, func(a, b Bundle) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Node, b.Node))
	})
}

func addReasons(reasons []string, triggers []trigger.Trigger) []string {
	for _, t := range triggers {
		if !slices.Contains(reasons, t.Reason) {
			reasons = append(reasons, t.Reason)
		}
	}
	return reasons
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
