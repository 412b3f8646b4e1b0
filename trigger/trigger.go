package trigger

import (
	"encoding/json"
	"fmt"
	"time"
)

// Request is what a source asks for. Zero durations and times mean the default: Config's, and now.
type Request struct {
	ID     string            // chosen by the caller to be able to repeat a request safely, or to name one incident on several nodes; "" for a new one
	Reason string            // what happened, in a few words; default "manual"
	At     time.Time         // when it happened
	Pre    *time.Duration    // how long before At, nil for the default
	Post   *time.Duration    // how long after At, nil for the default
	Labels map[string]string // whatever helps to find it again

	Cooldown *time.Duration // since the last incident of this reason, nil for Config's; no caller of the API can set it

	Source string // which kind of source asked: SourceHTTP, ...
	Client string // who asked, for the record: "uid 0, pid 4711", a token's name, an address
}

// Sources.
const (
	SourceHTTP   = "http"
	SourceSocket = "socket"
	SourceFile   = "file"   // the drop directory
	SourceSignal = "signal" // SIGUSR1

	SourceRule     = "rule"         // an event of the timeline
	SourceAlert    = "alertmanager" // its webhook
	SourceSchedule = "schedule"
)

// Sources is all of them.
var Sources = []string{SourceHTTP, SourceSocket, SourceFile, SourceSignal, SourceRule, SourceAlert, SourceSchedule}

// Trigger is an accepted request.
type Trigger struct {
	ID       string            `json:"id"`
	Reason   string            `json:"reason"`
	Source   string            `json:"source"`
	Client   string            `json:"client,omitempty"`
	At       time.Time         `json:"at"`
	Pre      Duration          `json:"pre"`
	Post     Duration          `json:"post"`
	Received time.Time         `json:"received"`
	Labels   map[string]string `json:"labels,omitempty"`
}

// Duration is a time.Duration that JSON has as people write it, such as "2m0s".
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// State is how far an incident has come.
type State string

// States of an incident.
const (
	StateOpen   State = "open"   // its window may still grow
	StateReady  State = "ready"  // its window is complete; it waits to be stored
	StateStored State = "stored" // its manifest is in the store; kept for a while as a record
)

// Incident is one window with all triggers that share it. It is a value: what the engine hands out never changes.
type Incident struct {
	ID         string          `json:"id"`
	State      State           `json:"state"`
	From       time.Time       `json:"from"` // of the window, [From, To)
	To         time.Time       `json:"to"`
	Triggers   []Trigger       `json:"triggers"` // the first one gave the id
	Extensions []Extension     `json:"extensions,omitempty"`
	Recorder   json.RawMessage `json:"recorder,omitempty"` // the recorder as it was when the window was complete; see Config.Describe
	Pinned     int64           `json:"pinned_bytes"`       // what the pin holds, in the spool
	Attempts   int             `json:"attempts,omitempty"` // failed ones, to store it
	Error      string          `json:"error,omitempty"`    // of the last attempt
	Since      time.Time       `json:"failing_since,omitzero"`
	Retry      time.Time       `json:"retry,omitzero"` // when it is tried next
	Stored     *Stored         `json:"stored,omitempty"`
}

// Extension is how a later trigger, or a clock that was set, widened the window.
type Extension struct {
	Trigger string    `json:"trigger,omitempty"` // its id
	From    time.Time `json:"from"`              // of the window from then on
	To      time.Time `json:"to"`
	Why     string    `json:"why"`
}

// Stored is where an incident went.
type Stored struct {
	At       time.Time `json:"at"`
	Manifest string    `json:"manifest"` // its key in the store
	SHA256   string    `json:"sha256"`   // of the manifest, in hexadecimal
	Bytes    int64     `json:"bytes"`    // of all objects
}

// Receipt answers a request.
type Receipt struct {
	ID       string    `json:"id"`       // of the trigger
	Incident string    `json:"incident"` // which it belongs to; the same id unless it was merged
	Merged   bool      `json:"merged,omitempty"`
	Known    bool      `json:"known,omitempty"` // the id was accepted before
	From     time.Time `json:"from"`            // of the incident's window as it is now
	To       time.Time `json:"to"`
}

// Refusal is the error of a request that is not accepted. Detail says what is wrong and the cure.
type Refusal struct {
	Status int           // as HTTP has it: 400 for a bad request, 429 for one too many, 503, 507 for a full budget
	Kind   string        // one of Kinds, for metrics
	Detail string        //
	Retry  time.Duration // when it may be worth another try, 0 if unknown
}

func (r *Refusal) Error() string { return r.Detail }

// Kinds of refusals.
const (
	RefusedInvalid  = "invalid"   // 400
	RefusedRate     = "rate"      // 429: more requests a second than are looked at
	RefusedCooldown = "cooldown"  // 429: the reason had an incident a moment ago
	RefusedHourly   = "incidents" // 429: incidents an hour
	RefusedDaily    = "bytes"     // 429: bytes a day
	RefusedPinned   = "pinned"    // 507: bytes that wait to be stored
	RefusedCrowded  = "crowded"   // 429: triggers of one incident
	RefusedFailed   = "failed"    // 503: journal or pin could not be written
)

// Suppressed counts the requests of one source, reason and minute that were refused.
type Suppressed struct {
	Minute time.Time `json:"minute"`
	Source string    `json:"source"`
	Reason string    `json:"reason"`
	Kind   string    `json:"kind"` // of refusal
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	Count  uint64    `json:"count"`
}

func invalid(format string, args ...any) *Refusal {
	return &Refusal{Status: 400, Kind: RefusedInvalid, Detail: fmt.Sprintf(format, args...)}
}
