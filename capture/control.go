package capture

import (
	"context"
	"errors"
	"slices"

	"github.com/ringside/ringside/capture/filter"
	"go.uber.org/zap"
)

// errOver means that nothing is recorded any more.
var errOver = errors.New("the recorder has stopped")

// request is work for Run's goroutine, which owns the rings.
type request struct {
	do   func() error
	done chan error // has room for one
}

// control has Run's goroutine do something and waits for it; if Run has not begun yet, for that. It returns errOver when
// Run has ended.
func (c *Capture) control(do func() error) error {
	q := request{do, make(chan error, 1)}
	select {
	case c.requests <- q:
		return <-q.done
	case <-c.over:
		return errOver
	}
}

// NeedsRestart returns the keys in which next differs and that Reconfigure leaves as they are.
func (c Config) NeedsRestart(next Config) []string {
	if ringMemory(c) != ringMemory(next) {
		return []string{"capture.ring"}
	}
	return nil
}

func ringMemory(c Config) int64 {
	if c.Ring == 0 {
		return DefaultRing
	}
	return c.Ring
}

// Reconfigure puts services and interface rules into force while everything is recorded, as a whole or not at all, and
// loses nothing of what was and stays named; what is in the rings already is kept as it was asked for then. The memory of
// the rings stays as it is: interfaces that are named beyond the plan of the start go to the shared ring. An error that
// wraps a *ConfigError is the configuration's fault; any other is the kernel's, and says if a ring could not be given its
// old filter back. It may be called concurrently; it waits for Run to begin.
func (c *Capture) Reconfigure(cfg Config) error {
	next := rules(cfg.Interfaces)
	if err := next.valid(); err != nil {
		return err
	}
	services, err := filter.NewCompiler(context.Background(), cfg.Services)
	if err != nil {
		return wrong("services", "%w", err)
	}
	return c.control(func() error { return c.reconfigure(services, next) })
}

func (c *Capture) reconfigure(services *filter.Compiler, next rules) error {
	if err := c.checkRequired(next); err != nil {
		return err
	}
	before := c.exact
	policy, kept, err := c.policyOf(services)
	if err != nil {
		return err
	}
	if err := c.refilter(policy); err != nil {
		return err
	}
	c.settleOwn(kept)
	if c.exact != before {
		c.noteFilter(before)
	}
	if p, err := c.services.Program(nil, false); err == nil {
		c.program.Store(p)
	}
	if slices.Equal(c.rules, next) {
		return nil
	}
	c.rules = next
	c.dir.change(func() { c.dir.rules = next })
	c.links.changeAll()
	if err := c.reconcile(); err != nil { // Run tries again
		c.log.Warn("interfaces: not everything that is named now can be recorded; trying again", zap.Error(err))
	}
	c.tellWaiting()
	return nil
}
