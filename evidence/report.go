package evidence

import (
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/series"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
)

// Version is that of the schema of reports (report.schema.json). Fields may be added within a version.
const Version = 1

// Report is what a capture and its timeline show. It is what ringside analyze --json prints, and report.json in a bundle.
type Report struct {
	Version  int              `json:"version"`
	Created  time.Time        `json:"created"`
	Program  string           `json:"program"` // and its version
	Incident *Incident        `json:"incident,omitempty"`
	Verdict  Verdict          `json:"verdict"`
	Findings []detect.Finding `json:"findings"`
	RuledOut []RuledOut       `json:"ruled_out"`
	Services []Service        `json:"services"`
	Coverage Coverage         `json:"coverage"`
	Events   []Event          `json:"events,omitempty"` // of the timeline, those that matter
	Paths    []detect.Path    `json:"paths,omitempty"`
	Files    []File           `json:"files"`
}

// Incident is what the report of a bundle is about.
type Incident struct {
	ID      string    `json:"id"`
	Cluster string    `json:"cluster"`
	Node    string    `json:"node"`
	Trigger string    `json:"trigger"` // what asked for it: source and reason
	At      time.Time `json:"at"`
	From    time.Time `json:"from"` // of the window
	To      time.Time `json:"to"`
}

// Verdict is what happened.
type Verdict struct {
	Class      detect.Class `json:"class"`
	Confidence float64      `json:"confidence"` // 0 to 1
	Cause      string       `json:"cause"`      // who or what did it, one clause; "" if nothing tells
	Chain      []Event      `json:"chain,omitempty"`
	Sentence   string       `json:"sentence"`
	StateLost  bool         `json:"state_lost"` // conntrack state was lost, whether it hurt anybody or not
	First      time.Time    `json:"first,omitzero"`
	Last       time.Time    `json:"last,omitzero"`
	Impact     Impact       `json:"impact"`
	Need       []string     `json:"need,omitempty"` // what would have to be recorded to know more, each a sentence
}

// Impact is whom it hurt.
type Impact struct {
	Flows    int            `json:"flows"`
	Services []string       `json:"services"`
	Seconds  float64        `json:"seconds"` // from the first sign until the last flow was well again, or gone
	Fates    map[string]int `json:"fates,omitempty"`
	From     time.Time      `json:"from,omitzero"`
	To       time.Time      `json:"to,omitzero"`
}

// RuledOut is a class that it is not.
type RuledOut struct {
	Class detect.Class `json:"class"`
	Why   string       `json:"why"`
}

// Service is what was seen of a service.
type Service struct {
	Name    string        `json:"name"`
	Packets uint64        `json:"packets"`
	Series  series.Series `json:"series"`
}

// Coverage is what was looked at, and what is missing.
type Coverage struct {
	From     time.Time        `json:"from,omitzero"`
	To       time.Time        `json:"to,omitzero"`
	Complete bool             `json:"complete"` // as far as it is known: a foreign file does not say what it lacks
	Known    bool             `json:"known"`    // the recorder's own account is there
	Vantages []detect.Vantage `json:"vantages"`
	Blind    []detect.Blind   `json:"blind,omitempty"`
	Missing  []rotate.Missing `json:"missing,omitempty"` // of a bundle's window
	Stats    detect.Stats     `json:"stats"`
	Timeline *TimelineFacts   `json:"timeline,omitempty"` // nil: there was none
}

// TimelineFacts is how much the timeline could tell.
type TimelineFacts struct {
	Events   uint64                    `json:"events"`
	Complete bool                      `json:"complete"`
	Watchers []hoststate.WatcherStatus `json:"watchers,omitempty"`
}

// Event is an event of the timeline, as reports have it.
type Event struct {
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Subject string    `json:"subject,omitempty"`
	Text    string    `json:"text"`
	By      string    `json:"by,omitempty"`
}

// File is a capture that was looked at.
type File struct {
	Name    string `json:"name"`
	Packets uint64 `json:"packets"`
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256,omitempty"` // of the capture as it was read, decompressed
}
