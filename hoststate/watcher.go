package hoststate

import (
	"context"
	"strconv"
)

// Watcher is a source of events.
type Watcher interface {
	// Name is short and in lower case, such as conntrack: it is in the status, in metrics, and the Source of its events.
	Name() string

	// Run watches until ctx is done and then returns nil. It returns *Unavailable if it cannot run here; any other error,
	// and a panic, has it started again after a while. It may be called again after it has returned.
	Run(ctx context.Context, out Sink) error
}

// Sink takes what a watcher sees. Its methods may be called concurrently and never block.
type Sink interface {
	// Emit takes an event. Source is filled in.
	Emit(Event)

	// Blind replaces the list of what this watcher cannot see although it runs, each a sentence with the cure. None says
	// that nothing is hidden.
	Blind(spots ...string)
}

// Unavailable is the error of a watcher that cannot run: which capability, mount or program is missing.
type Unavailable struct {
	Why  string // such as "no permission to listen to conntrack events"
	Cure string // such as "give the container CAP_NET_ADMIN"
}

func (u *Unavailable) Error() string { return u.Why + ": " + u.Cure }

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
