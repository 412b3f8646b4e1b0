package traffic

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Failures counts what ended badly, by how.
type Failures struct {
	Reset       int `json:"reset,omitzero"`
	EOF         int `json:"eof,omitzero"`
	TimedOut    int `json:"timeout,omitzero"`
	Refused     int `json:"refused,omitzero"`
	Unreachable int `json:"unreachable,omitzero"`
	NoName      int `json:"no_name,omitzero"`
	Other       int `json:"other,omitzero"`
}

// Total is all of them.
func (f Failures) Total() int {
	return f.Reset + f.EOF + f.TimedOut + f.Refused + f.Unreachable + f.NoName + f.Other
}

// Add is the sum of both.
func (f Failures) Add(g Failures) Failures {
	return Failures{
		Reset: f.Reset + g.Reset, EOF: f.EOF + g.EOF, TimedOut: f.TimedOut + g.TimedOut, Refused: f.Refused + g.Refused,
		Unreachable: f.Unreachable + g.Unreachable, NoName: f.NoName + g.NoName, Other: f.Other + g.Other,
	}
}

// String names those that there are: "8 reset, 1 timeout", or "none".
func (f Failures) String() string {
	var parts []string
	for _, e := range []struct {
		n    int
		what End
	}{{f.Reset, WasReset}, {f.EOF, EOF}, {f.TimedOut, TimedOut}, {f.Refused, Refused}, {f.Unreachable, Unreachable}, {f.NoName, NoName}, {f.Other, Failed}} {
		if e.n > 0 {
			parts = append(parts, fmt.Sprint(e.n, " ", e.what))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (f *Failures) count(e End) {
	switch e {
	case WasReset:
		f.Reset++
	case EOF:
		f.EOF++
	case TimedOut:
		f.TimedOut++
	case Refused:
		f.Refused++
	case Unreachable:
		f.Unreachable++
	case NoName:
		f.NoName++
	default:
		f.Other++
	}
}

// Summary is what the clients of a service saw in a stretch of time. All is counted where it ended: an answer when it
// came, a failure when the client gave up.
type Summary struct {
	Answers int           `json:"answers"` // and messages
	P50     time.Duration `json:"p50_ns"`  // of what answers took, the nearest rank; 0 without any
	P95     time.Duration `json:"p95_ns"`
	Max     time.Duration `json:"max_ns"`

	Connects   int           `json:"connects"`       // handshakes
	ConnectMax time.Duration `json:"connect_max_ns"` // the longest of them

	Broken      Failures `json:"broken,omitzero"`      // connections that were there, and ended badly
	Unconnected Failures `json:"unconnected,omitzero"` // connections that could not be made
}

// Summary is what the clients saw from one time up to another.
func (p *Pool) Summary(from, to time.Time) (s Summary) {
	within := func(t time.Time) bool { return !t.Before(from) && t.Before(to) }
	p.mu.Lock()
	defer p.mu.Unlock()
	var took []time.Duration
	for _, x := range p.samples {
		switch {
		case !within(x.at):
		case x.end == "":
			took = append(took, x.took)
		case x.established:
			s.Broken.count(x.end)
		default:
			s.Unconnected.count(x.end)
		}
	}
	for _, f := range p.flows {
		if f.Connect >= 0 && within(f.Opened.Add(f.Connect)) {
			s.Connects++
			s.ConnectMax = max(s.ConnectMax, f.Connect)
		}
	}
	slices.Sort(took)
	s.Answers, s.P50, s.P95, s.Max = len(took), rank(took, 0.5), rank(took, 0.95), rank(took, 1)
	return s
}

// rank is the smallest of the sorted times that a part of them does not exceed.
func rank(sorted []time.Duration, part float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(part*float64(len(sorted)))), 1)-1]
}

// Flows is all connections so far, in the order in which they were begun.
func (p *Pool) Flows() []Flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	flows := make([]Flow, len(p.flows))
	for i, f := range p.flows {
		flows[i] = *f
	}
	return flows
}

// Outcome is what the clients of a service saw of a fault.
type Outcome struct {
	Service string  `json:"service"`
	Before  Summary `json:"before"`
	During  Summary `json:"during"`
	After   Summary `json:"after"`
	Flows   []Flow  `json:"flows"`
}

// Outcome is what the clients saw of a fault that lasted from one time to another, until now.
func (p *Pool) Outcome(at, until time.Time) Outcome {
	return Outcome{
		Service: p.load.Service,
		Before:  p.Summary(time.Time{}, at), During: p.Summary(at, until), After: p.Summary(until, time.Now()),
		Flows: p.Flows(),
	}
}

// Hit is the flows that a fault at that time broke.
func (o *Outcome) Hit(at time.Time) (hit []Flow) {
	for _, f := range o.Flows {
		if f.Hit(at) {
			hit = append(hit, f)
		}
	}
	return hit
}
