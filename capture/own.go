package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/pcapng"
	"go.uber.org/zap"
)

const (
	// mostLeftOut bounds the connections in a filter: each costs it instructions.
	mostLeftOut = 16
	// linger is how long a connection is still left out after it was closed, for its last packets.
	linger = 2 * time.Second
)

// errCrowded means that a connection is recorded because too many others are left out.
var errCrowded = fmt.Errorf("%d connections are left out of the recording already; this one is recorded", mostLeftOut)

var errNoRoom = errors.New("the filter of the new services has no room for it")

// own is a connection of this process.
type own struct {
	filter.Connection
	closed bool // it is left out for a moment more
	kept   bool // the services' programs may keep it, so that it is to be left out
	told   bool // that it is recorded
}

// LeaveOut leaves a TCP connection of this process out of the recording, in both directions, from before it returns
// until two seconds after release. If nothing that is recorded matches it, that costs nothing, now or later. An error
// means that it is recorded, which is counted and logged; release is good to call then too. It may be called
// concurrently, and waits for Run to begin.
func (c *Capture) LeaveOut(local, remote netip.AddrPort) (release func(), err error) {
	o := &own{Connection: filter.Connection{A: local, B: remote}}
	if err := c.control(func() error { return c.addOwn(o) }); err != nil {
		return func() {}, err
	}
	return func() {
		_ = c.control(func() error { o.closed = true; return nil })
		time.AfterFunc(linger, func() { _ = c.control(func() error { return c.removeOwn(o) }) })
	}, nil
}

func (c *Capture) addOwn(o *own) (err error) {
	if o.kept, err = c.services.MayKeep(o.Connection); err != nil {
		return c.recordOwn(o, err)
	}
	// One of the same ends that was closed a moment ago is this one now.
	c.own = slices.DeleteFunc(c.own, func(other *own) bool { return other.closed && other.Connection == o.Connection })
	if o.kept && len(c.leftOut()) >= mostLeftOut {
		i := slices.IndexFunc(c.own, func(other *own) bool { return other.closed && other.kept })
		if i < 0 {
			return c.recordOwn(o, errCrowded)
		}
		c.own = slices.Delete(c.own, i, i+1)
	}
	c.own = append(c.own, o)
	if !o.kept {
		return nil
	}
	if err := c.refilterOwn(); err != nil {
		c.own = slices.DeleteFunc(c.own, func(other *own) bool { return other == o })
		return c.recordOwn(o, err)
	}
	c.noteOwn(o, "is left out from now on")
	return nil
}

// recordOwn counts and tells that a connection is recorded.
func (c *Capture) recordOwn(o *own, why error) error {
	c.ownRecorded.Add(1)
	o.told = true
	err := fmt.Errorf("connection %v of this process is recorded: %w", o.Connection, why)
	c.noteOwn(o, "is recorded: "+why.Error())
	c.log.Warn("a connection of this process is recorded", zap.Stringer("connection", o.Connection), zap.Error(why))
	return err
}

func (c *Capture) noteOwn(o *own, what string) {
	text := fmt.Sprintf("connection %v of the recorder itself %s", o.Connection, what)
	c.sink.Note(pcapng.Note{Kind: pcapng.NoteFilter, To: time.Now().UnixNano(), Text: text})
}

func (c *Capture) removeOwn(o *own) error {
	n := len(c.own)
	c.own = slices.DeleteFunc(c.own, func(other *own) bool { return other == o })
	if n == len(c.own) || !o.kept {
		return nil
	}
	c.noteOwn(o, "is no longer left out")
	return c.refilterOwn()
}

// leftOut returns the connections that filters leave out.
func (c *Capture) leftOut() (list []filter.Connection) {
	for _, o := range c.own {
		if o.kept {
			list = append(list, o.Connection)
		}
	}
	return list
}

// refilterOwn brings the connections that are left out into all filters. Where the kernel refuses, the process leaves
// them out.
func (c *Capture) refilterOwn() error {
	next, err := newPolicy(c.services, c.leftOut())
	if err != nil {
		return err
	}
	c.policy = next
	for index, r := range c.readers {
		if err := c.attach(r, c.exclusions(index)); err != nil {
			r.enter(era{exact: c.exact, judged: true})
			c.log.Warn("the kernel took no filter that leaves connections of this process out; the process does",
				zap.String("ring", r.name), zap.Error(err))
		}
	}
	return nil
}

// policyOf is the policy for other services, and which connections it leaves out. One that it cannot leave out is
// recorded from now on; the list is empty if it can leave out none.
func (c *Capture) policyOf(services *filter.Compiler) (p policy, kept []*own, err error) {
	var list []filter.Connection
	for _, o := range c.own {
		may, err := services.MayKeep(o.Connection)
		if err != nil {
			return policy{}, nil, wrong("services", "%w", err)
		}
		if may && len(list) < mostLeftOut {
			kept, list = append(kept, o), append(list, o.Connection)
		}
	}
	if p, err = newPolicy(services, list); err == nil || len(list) == 0 {
		return p, kept, err
	}
	c.log.Warn("connections of this process cannot be left out beside these services", zap.Error(err))
	p, err = newPolicy(services, nil)
	return p, nil, err
}

// settleOwn says which connections the policy in force leaves out.
func (c *Capture) settleOwn(kept []*own) {
	for _, o := range c.own {
		if o.kept = slices.Contains(kept, o); o.kept || o.closed || o.told {
			continue
		}
		if may, _ := c.services.MayKeep(o.Connection); may {
			_ = c.recordOwn(o, errNoRoom)
		}
	}
}
