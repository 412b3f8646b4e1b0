package upload

import (
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
)

// ManifestName is the last part of a manifest's key.
const ManifestName = "manifest.json"

// ManifestVersion is the version of the schema (manifest.schema.json). Fields may be added within a version.
const ManifestVersion = 1

// Manifest says what a bundle is. It is the commit mark: written last, once, with everything it names already stored.
type Manifest struct {
	Version    int                 `json:"version"`
	Incident   string              `json:"incident"`
	Cluster    string              `json:"cluster"`
	Node       string              `json:"node"`
	Created    time.Time           `json:"created"`
	Triggers   []trigger.Trigger   `json:"triggers"`
	Extensions []trigger.Extension `json:"extensions,omitempty"`
	Recorder   Recorder            `json:"recorder"`
	Window     Window              `json:"window"`
	Segments   []rotate.Segment    `json:"segments"`
	Timeline   *hoststate.Summary  `json:"timeline,omitempty"` // what its object holds of the window, and lacks
	Objects    []ObjectFacts       `json:"objects"`

	Verdict     *Verdict `json:"verdict,omitempty"`      // the report's, so that lists need not fetch it
	ReportError string   `json:"report_error,omitempty"` // why there is no report

	Previous *Previous `json:"previous,omitempty"` // absent in a node's first
}

// Recorder is the program and the machine, as they were when the window was complete.
type Recorder struct {
	Version    string          `json:"version"`
	Go         string          `json:"go"`
	Kernel     string          `json:"kernel"` // release and version, as uname has them
	Machine    string          `json:"machine"`
	Hostname   string          `json:"hostname"`
	Started    time.Time       `json:"started"`
	Interfaces []InterfaceFact `json:"interfaces"`
	BlindSpots []string        `json:"blind_spots"` // what this recorder cannot see

	Watchers []hoststate.WatcherStatus `json:"watchers,omitempty"` // of the host; what one that is off or blind does not tell is not on the timeline

	Services []ServiceFact `json:"services"`
	Filter   FilterFact    `json:"filter"`
	Clock    ClockFact     `json:"clock"`
}

// InterfaceFact is the state of an interface.
type InterfaceFact struct {
	Name  string `json:"name"`
	Index int    `json:"index,omitempty"`
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
	Ring  string `json:"ring,omitempty"`
}

// ServiceFact is what was kept of one service.
type ServiceFact struct {
	Name    string `json:"name"`
	Match   string `json:"match"`   // what it is, as the configuration would say it
	Payload string `json:"payload"` // kept after the headers: "0", a number of bytes, or "full"
}

// FilterFact is the BPF program.
type FilterFact struct {
	Text   string `json:"text"`
	SHA256 string `json:"sha256"` // of its instructions, see capture/filter
	Coarse string `json:"coarse,omitempty"`
}

// ClockFact is what is known of the wall clock that stamped the packets.
type ClockFact struct {
	Source       string `json:"source"`       // the kernel's clock source
	Synchronised bool   `json:"synchronised"` // as the kernel says (adjtimex: not STA_UNSYNC)
	OffsetNS     int64  `json:"offset_ns"`    // that the kernel still corrects
	ErrorNS      int64  `json:"max_error_ns"` // at most
}

// Window is what was asked, what the bundle holds, and what it lacks.
type Window struct {
	Asked    rotate.Span     `json:"asked"`
	Complete bool            `json:"complete"`
	Coverage rotate.Coverage `json:"coverage"` // with gaps, drops and clock steps
}

// ObjectFacts is one object of the bundle.
type ObjectFacts struct {
	Name        string `json:"name"` // in the bundle's folder
	Kind        string `json:"kind"` // KindCapture, ...
	Type        string `json:"type"` // media type
	Compression string `json:"compression"`
	Bytes       int64  `json:"bytes"`        // as stored
	SHA256      string `json:"sha256"`       // as stored
	PlainBytes  int64  `json:"plain_bytes"`  // decompressed
	PlainSHA256 string `json:"plain_sha256"` // decompressed
}

// Kinds of objects.
const (
	KindCapture  = "capture"
	KindTimeline = "timeline" // the host's events, hoststate.Event as JSON lines, in the order in which they were seen
	KindReport   = "report"   // what they show, as JSON
	KindPage     = "page"     // the same for people, as HTML
)

// Verdict is what the packets and the timeline show, in short. The report has the proof.
type Verdict struct {
	Class      string  `json:"class"`      // such as conntrack-loss, or none
	Confidence float64 `json:"confidence"` // 0 to 1
	Sentence   string  `json:"sentence"`
	Cause      string  `json:"cause,omitempty"` // who or what did it, if something tells
	StateLost  bool    `json:"state_lost,omitempty"`
	Impact     Impact  `json:"impact"`
}

// Impact is whom it hurt.
type Impact struct {
	Flows    int      `json:"flows"`
	Services []string `json:"services,omitempty"`
	Seconds  float64  `json:"seconds"` // from the first sign to the last
}

// Previous is the manifest that the node stored before this one.
type Previous struct {
	Incident string `json:"incident"`
	SHA256   string `json:"sha256"` // of the whole object
}
