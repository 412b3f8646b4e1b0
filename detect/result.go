package detect

import (
	"time"

	"github.com/ringside/ringside/detect/series"
)

// Result is everything that was found in a capture.
type Result struct {
	Findings []Finding       `json:"findings"`
	Series   []series.Series `json:"-"` // by service
	Vantages []Vantage       `json:"vantages"`
	Paths    []Path          `json:"paths,omitempty"` // between two vantages
	Blind    []Blind         `json:"blind,omitempty"`
	Stats    Stats           `json:"stats"`
	First    time.Time       `json:"first,omitzero"` // of all packets
	Last     time.Time       `json:"last,omitzero"`
}

// Vantage is an interface of a capture.
type Vantage struct {
	Name    string `json:"name"`
	File    string `json:"file,omitempty"`
	Uplink  bool   `json:"uplink"` // it leads out of the node
	Packets uint64 `json:"packets"`
}

// Path is what became of segments between two vantages.
type Path struct {
	From          string `json:"from"`
	To            string `json:"to"`
	Flows         uint64 `json:"flows"`    // that were seen at both
	Segments      uint64 `json:"segments"` // whose time in between was measured
	MedianNS      int64  `json:"median_ns"`
	P99NS         int64  `json:"p99_ns"`
	MaxNS         int64  `json:"max_ns"`
	Vanished      uint64 `json:"vanished"` // segments that were seen at From, should have been at To, and were not
	VanishedFlows uint64 `json:"vanished_flows"`
}

// Blind is a stretch of time of which a vantage did not record everything.
type Blind struct {
	Vantage string    `json:"vantage,omitempty"` // "" for all
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Packets uint64    `json:"packets,omitempty"` // that are missing, if they were counted
	Why     string    `json:"why"`
}

// Stats is how much was looked at.
type Stats struct {
	Packets       uint64 `json:"packets"`
	TCP           uint64 `json:"tcp"`
	Unread        uint64 `json:"unread"`        // of a protocol or link that is not read
	Conversations uint64 `json:"conversations"` // each vantage's are counted
	Evicted       uint64 `json:"evicted"`       // because there were too many at a time
	Skipped       uint64 `json:"skipped"`       // packets that were not looked at, because detection was behind
	Retransmitted uint64 `json:"retransmitted"`
	Unseen        uint64 `json:"unseen"` // segments that were acknowledged and are not in the capture
}
