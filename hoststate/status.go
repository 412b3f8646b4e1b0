package hoststate

import "time"

// States of a watcher.
const (
	StateOn      = "running"
	StateOff     = "off"    // it cannot run here
	StateFailing = "failed" // it is started again after a while
)

// WatcherStatus is how a watcher is.
type WatcherStatus struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	Since    time.Time `json:"since"`
	Why      string    `json:"why,omitempty"` // it is not running, and the cure
	Blind    []string  `json:"blind,omitempty"`
	Events   uint64    `json:"events"`
	Restarts uint64    `json:"restarts,omitempty"` // after an error or a panic
}
