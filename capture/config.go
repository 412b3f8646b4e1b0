package capture

import (
	"context"
	"fmt"
	"time"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/pcapng"
)

// Config says what to record. The zero Ring means DefaultRing.
type Config struct {
	Interfaces []InterfaceRule
	Services   []filter.Service
	Ring       int64 // memory of all rings together, in bytes
}

// DefaultRing is the memory of all rings together, in bytes, unless configured.
const DefaultRing = 64 << 20

// Auto is the interface rule that stands for the interfaces of the default routes.
const Auto = "auto"

// InterfaceRule names interfaces to record.
type InterfaceRule struct {
	Name    string // Auto, a name, or a glob as path.Match reads it
	Require bool   // refuse to start without it
	Ring    string // RingOwn, RingShared, or "": own for Auto and names, shared for globs
}

// ConfigError is an error that a change of the configuration cures. Open joins several (errors.Join) when several keys
// are wrong.
type ConfigError struct {
	Key string // such as capture.ring
	Err error  // what is wrong with its value, and the cure
}

func (e *ConfigError) Error() string { return e.Key + ": " + e.Err.Error() }

func (e *ConfigError) Unwrap() error { return e.Err }

func wrong(key, format string, args ...any) error {
	return &ConfigError{Key: "capture." + key, Err: fmt.Errorf(format, args...)}
}

// Values of InterfaceRule.Ring.
const (
	RingOwn    = "own"
	RingShared = "shared"
)

// Sink takes what is captured. Get returns an empty chunk and blocks while none is free, so that a stalled disk is felt
// by the ring, whose drops the kernel counts; it fails only when ctx is done. Put hands a chunk over and never blocks.
// Note takes a dated fact that belongs to no ring's chunk and never blocks. All may be called concurrently.
type Sink interface {
	Get(ctx context.Context) (*pcapng.Chunk, error)
	Put(*pcapng.Chunk)
	Note(pcapng.Note)
}

// States of an interface.
const (
	StateRecording = "recording"
	StateWaiting   = "waiting"  // named in the configuration, not there
	StateDown      = "down"     // there, not up
	StateExcluded  = "excluded" // there, not named in the configuration
	StateBlind     = "blind"    // should be recorded and cannot be
)

// Status is what is recorded at the moment.
type Status struct {
	Ready      bool // at least one interface is recording
	Interfaces []InterfaceStatus
	Rings      []RingStatus

	OwnRecorded uint64 // connections of this process that could not be left out of the recording
}

// InterfaceStatus is the state of one interface, or of a rule that no interface meets yet (Index 0).
type InterfaceStatus struct {
	Name     string `json:"name"`
	Index    int    `json:"index,omitempty"`
	State    string `json:"state"`
	Why      string `json:"why,omitempty"`
	Ring     string `json:"ring,omitempty"`
	Received uint64 `json:"received"` // packets recorded since the start, kept when an interface that a rule names exactly vanishes and returns
}

// RingStatus is the account of one ring since it was opened. Counts are packets unless said otherwise.
type RingStatus struct {
	Name         string
	Bytes        int
	Blocks       int
	Received     uint64 // handed over by the kernel
	Dropped      uint64 // by the kernel, because the ring was full
	Frozen       uint64 // times the kernel found the ring full
	CutPolicy    uint64 // stored shorter than they were, as the service's payload asks
	CutLimit     uint64 // stored shorter because no ring block or file holds more
	Filtered     uint64 // handed over by a coarsened filter and then left out by the process
	Instructions int    // of the filter
	Coarse       string // what the filter gave up to fit the kernel's limit; empty if exact
	CoveredTo    time.Time
}
