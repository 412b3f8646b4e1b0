package hoststate

import (
	"encoding/json"
	"time"
)

// Event is one thing that happened on the host, or that somebody saw. Its JSON is a line of the timeline. The timeline
// sets Seq, Seen and, where it is zero, Time; everything else is the watcher's. An event is a value: nobody changes one
// that was emitted.
type Event struct {
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`              // when it happened, on the packet clock
	Seen    time.Time `json:"seen,omitzero"`     // when it reached the timeline, where that is a second or more from Time
	Kind    string    `json:"kind"`              // one of Kinds
	Source  string    `json:"source"`            // the watcher that saw it, or who reported it
	Subject string    `json:"subject,omitempty"` // what it happened to: a unit, an interface, a service, a file's preset
	Text    string    `json:"text"`              // one sentence for people
	By      *Process  `json:"by,omitempty"`      // who did it, where the kernel says

	Incident string `json:"incident,omitempty"` // which it belongs to, whatever its time: snapshots and triggers

	Before string          `json:"before,omitempty"` // the state that changed, where there is one
	After  string          `json:"after,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"` // facts for programs; its fields are the kind's, docs/timeline.md
	Raw    string          `json:"raw,omitempty"`  // what the source said, redacted, at most MaxRaw bytes
}

// MaxRaw bounds Event.Raw, in bytes. Longer text is cut, and ends in "...".
const MaxRaw = 4 << 10

// MaxData bounds Event.Data, in bytes. An event with more loses it, and says so in Text.
const MaxData = 1 << 20

// Process is who did something, as far as the kernel tells.
type Process struct {
	PortID uint32 `json:"portid"`         // of the netlink socket; 0 is the kernel itself
	PID    int    `json:"pid,omitempty"`  // 0 if it was gone before it could be looked up
	Name   string `json:"name,omitempty"` // the process's comm; "" with PortID != 0: name unknown
}

// String is how a sentence names the process: "the kernel", "conntrack (pid 4711)", "portid 4711, name unknown".
func (p *Process) String() string {
	switch {
	case p == nil:
		return "unknown"
	case p.PortID == 0:
		return "the kernel"
	case p.Name == "":
		return "portid " + itoa(uint64(p.PortID)) + ", name unknown"
	}
	return p.Name + " (pid " + itoa(uint64(p.PID)) + ")"
}
