package evidence

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
)

// CertificateVersion is that of the schema of certificates (certificate.schema.json). Fields may be added within a version.
const CertificateVersion = 1

// Result is what a certificate says.
type Result string

// Results. Fired goes before NotCovered: what was seen was seen, whatever else is missing.
const (
	Clean      Result = "clean"       // everything was recorded, every service was seen, and no signature fired
	Fired      Result = "fired"       // a signature fired
	NotCovered Result = "not-covered" // none fired, and not enough was recorded to say that none would have
)

// Asked is what is to be certified.
type Asked struct {
	From     time.Time      `json:"from"` // [From, To)
	To       time.Time      `json:"to"`
	Services []string       `json:"services"`          // that must have been seen
	Classes  []detect.Class `json:"classes,omitempty"` // whose findings count; none: all
	Nodes    []Node         `json:"nodes,omitempty"`   // that must have recorded; none: those that did
}

// Node is whose recorder it was.
type Node struct {
	Cluster string `json:"cluster"`
	Name    string `json:"name"`
}

// Recording is a window of one node's packets, and what was found in it.
type Recording struct {
	Node     Node
	Incident string // whose bundle it is; "" of a spool
	Coverage rotate.Coverage
	Timeline *hoststate.Summary // nil: there was none
	Report   *Report
}

// Certificate says whether a stretch of time was recorded in full, and whether it was clean.
type Certificate struct {
	Version    int              `json:"version"`
	Created    time.Time        `json:"created"`
	Program    string           `json:"program"` // and its version
	Source     string           `json:"source"`  // directory of the spool, or URL of the store
	Asked      Asked            `json:"asked"`
	Result     Result           `json:"result"`
	Reasons    []string         `json:"reasons"` // each a sentence; none of a clean one
	Services   []ServicePackets `json:"services"`
	Findings   []Fire           `json:"findings"`
	Uncovered  []Hole           `json:"uncovered"`
	Recordings []Recorded       `json:"recordings"`
}

// ServicePackets is how much was seen of a service.
type ServicePackets struct {
	Name    string `json:"name"`
	Packets uint64 `json:"packets"` // each once, though it passed several interfaces; where windows of bundles overlap, they count in each
	Asked   bool   `json:"asked"`   // it must have been seen
}

// Fire is a signature that fired.
type Fire struct {
	Node     Node   `json:"node"`
	Incident string `json:"incident,omitempty"` // whose bundle has the proof
	Counts   bool   `json:"counts"`             // its class is one of those asked for
	detect.Finding
}

// Hole is when a node recorded nothing, or not everything.
type Hole struct {
	Node Node `json:"node"`
	rotate.Missing
}

// Recorded is a recording, as certificates have it.
type Recorded struct {
	Node     Node                  `json:"node"`
	Incident string                `json:"incident,omitempty"`
	From     time.Time             `json:"from"`
	To       time.Time             `json:"to"`
	Packets  uint64                `json:"packets"`
	Rings    []rotate.RingCoverage `json:"rings"`
	Timeline *hoststate.Summary    `json:"timeline,omitempty"`
	Files    []File                `json:"files"`
	Verdict  detect.Class          `json:"verdict"`
	Sentence string                `json:"sentence"`
}

// missingWindow is the reason of a hole between recordings.
const missingWindow = "no-recording"

// Certify judges recordings. Program, Source and Created are left to the caller.
func Certify(asked Asked, recordings []Recording) *Certificate {
	c := &Certificate{Version: CertificateVersion, Asked: asked, Reasons: []string{}, Findings: []Fire{}, Uncovered: []Hole{}, Recordings: []Recorded{}}
	recordings = slices.Clone(recordings)
	slices.SortStableFunc(recordings, func(a, b Recording) int {
		return cmp.Or(strings.Compare(a.Node.Cluster, b.Node.Cluster), strings.Compare(a.Node.Name, b.Node.Name), a.Coverage.From.Compare(b.Coverage.From))
	})
	for i := range recordings {
		c.take(&recordings[i])
	}
	c.between(recordings)
	c.count(recordings)
	slices.SortStableFunc(c.Findings, func(a, b Fire) int { return a.First.Compare(b.First) })
	c.judge(recordings)
	return c
}

// take takes over what a recording says for itself.
func (c *Certificate) take(r *Recording) {
	v := r.Report.Verdict
	c.Recordings = append(c.Recordings, Recorded{
		Node: r.Node, Incident: r.Incident, From: r.Coverage.From, To: r.Coverage.To, Packets: r.Coverage.Packets,
		Rings: append([]rotate.RingCoverage{}, r.Coverage.Rings...), Timeline: r.Timeline, Files: append([]File{}, r.Report.Files...), Verdict: v.Class, Sentence: v.Sentence,
	})
	for _, f := range r.Report.Findings {
		if f.Class == detect.None || f.Class == detect.RecorderBlind || f.Last.Before(c.Asked.From) || !f.First.Before(c.Asked.To) {
			continue
		}
		counts := len(c.Asked.Classes) == 0 || slices.Contains(c.Asked.Classes, f.Class)
		c.Findings = append(c.Findings, Fire{Node: r.Node, Incident: r.Incident, Counts: counts, Finding: f})
	}
	for _, m := range r.Coverage.Missing {
		if m.From.Before(c.Asked.To) && m.To.After(c.Asked.From) || m.From.Equal(m.To) && !m.From.Before(c.Asked.From) && m.From.Before(c.Asked.To) {
			c.Uncovered = append(c.Uncovered, Hole{r.Node, m})
		}
	}
}

// between finds what no recording of a node reaches. Recordings are sorted by node and time.
func (c *Certificate) between(recordings []Recording) {
	nodes := slices.Clone(c.Asked.Nodes)
	for _, r := range recordings {
		if !slices.Contains(nodes, r.Node) {
			nodes = append(nodes, r.Node)
		}
	}
	for _, n := range nodes {
		at := c.Asked.From
		hole := func(to time.Time) {
			if at.Before(to) {
				c.Uncovered = append(c.Uncovered, Hole{n, rotate.Missing{Span: rotate.Span{From: at, To: to}, Reason: missingWindow}})
			}
		}
		for _, r := range recordings {
			if r.Node != n || !r.Coverage.From.Before(c.Asked.To) {
				continue
			}
			hole(r.Coverage.From)
			if r.Coverage.To.After(at) {
				at = r.Coverage.To
			}
		}
		hole(c.Asked.To)
	}
}

// count sums up the packets of services: those asked for first, in that order.
func (c *Certificate) count(recordings []Recording) {
	c.Services = []ServicePackets{}
	at := map[string]int{}
	service := func(name string, asked bool) *ServicePackets {
		i, ok := at[name]
		if !ok {
			i = len(c.Services)
			at[name] = i
			c.Services = append(c.Services, ServicePackets{Name: name, Asked: asked})
		}
		return &c.Services[i]
	}
	for _, name := range c.Asked.Services {
		service(name, true)
	}
	for _, r := range recordings {
		for _, s := range r.Report.Services {
			service(s.Name, false).Packets += s.Packets
		}
	}
}

// judge comes to the result.
func (c *Certificate) judge(recordings []Recording) {
	because := func(r Result, format string, args ...any) {
		c.Reasons = append(c.Reasons, fmt.Sprintf(format, args...))
		if c.Result != Fired {
			c.Result = r
		}
	}
	c.Result = Clean
	for _, f := range c.Findings {
		if f.Counts {
			because(Fired, "%s fired at %s on %s: %s", f.Class, f.First.UTC().Format(time.RFC3339Nano), f.Node.Name, f.Text)
		}
	}
	if len(recordings) == 0 {
		because(NotCovered, "there is no recording of this time")
	}
	for _, r := range recordings {
		for _, text := range unseen(&r) {
			because(NotCovered, "not everything that %s recorded was looked at: %s", r.Node.Name, text)
		}
	}
	for _, h := range c.Uncovered {
		because(NotCovered, "%s", h.sentence())
	}
	for _, s := range c.Services {
		if s.Asked && s.Packets == 0 {
			because(NotCovered, "no packet of %s was seen: what became of it cannot be told", s.Name)
		}
	}
}

// unseen says what detection has not looked at.
func unseen(r *Recording) (texts []string) {
	s := r.Report.Coverage.Stats
	if s.Evicted > 0 {
		texts = append(texts, fmt.Sprintf("%d conversations were more than are followed at a time", s.Evicted))
	}
	if s.Skipped > 0 {
		texts = append(texts, fmt.Sprintf("%d packets were skipped", s.Skipped))
	}
	if len(r.Coverage.Missing) == 0 { // else these say the same
		for _, b := range r.Report.Coverage.Blind {
			texts = append(texts, b.Why)
		}
	}
	return texts
}

// sentence says what a hole is.
func (h *Hole) sentence() string {
	where := h.Node.Name
	if h.Ring != "" {
		where += ", " + h.Ring
	}
	text := fmt.Sprintf("%s: %s to %s: %s", where, h.From.UTC().Format(time.RFC3339Nano), h.To.UTC().Format(time.RFC3339Nano), h.Reason)
	if h.Packets > 0 {
		text += fmt.Sprintf(", %d packets", h.Packets)
	}
	if h.Text != "" && h.Text != h.Reason {
		text += " (" + h.Text + ")"
	}
	return text
}

// Text is the certificate as it is written and hashed: JSON, with a newline at its end.
func (c *Certificate) Text() ([]byte, error) {
	b, err := json.MarshalIndent(c, "", "  ")
	return append(b, '\n'), err
}
