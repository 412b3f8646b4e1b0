package capture

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/pcapng"
	"go.uber.org/zap"
)

// policy is which packets are kept, for all rings.
type policy struct {
	services *filter.Compiler // as configured
	compiler *filter.Compiler // of services, without connections of our own
	exact    *filter.Program  // without interfaces, to finish a coarsened one
	coarse   bool             // the kernel refused the exact one
}

func newPolicy(services *filter.Compiler, own []filter.Connection) (policy, error) {
	p := policy{services: services, compiler: services}
	var err error
	if len(own) > 0 {
		if p.compiler, err = services.LeaveOut(own); err != nil {
			return policy{}, err
		}
	}
	if p.exact, err = p.compiler.Program(nil, false); err != nil {
		return policy{}, wrong("services", "%w", err)
	}
	return p, nil
}

// attach gives a ring the filter of the policy in force. If the kernel refuses, the ring keeps filter and policy.
func (c *Capture) attach(r *reader, exclude []int) error {
	before := *r.policy.Load()
	was := before[len(before)-1]
	used, err := c.fit(exclude, true, func(p *filter.Program) error {
		if c.coarse || c.exact != was.exact { // before the first packet that the new filter lets through
			r.enter(era{exact: was.exact, also: c.exact, judged: true})
		}
		return r.ring.setFilter(p.Instructions())
	})
	if err != nil {
		r.enter(was)
		return err
	}
	r.enter(era{exact: c.exact, judged: c.coarse})
	r.program.Store(used)
	return nil
}

// exclusions is what the filter of a ring leaves out.
func (c *Capture) exclusions(index int) []int {
	if index == 0 {
		return c.excluded
	}
	return nil
}

// refilter puts another policy into force in all rings, or in none: it takes back what it has done when the kernel
// refuses a filter. The error then names the rings where even that was refused.
func (c *Capture) refilter(next policy) error {
	before := c.policy
	if next.exact.Hash() == before.exact.Hash() {
		next.exact, next.coarse = before.exact, before.coarse
		c.policy = next
		return nil
	}
	c.policy = next
	var done []int
	for _, index := range slices.Sorted(maps.Keys(c.readers)) {
		err := c.attach(c.readers[index], c.exclusions(index))
		if err == nil {
			done = append(done, index)
			continue
		}
		err = fmt.Errorf("ring %s: %w", c.readers[index].name, err)
		c.policy = before
		for _, index := range done {
			if back := c.attach(c.readers[index], c.exclusions(index)); back != nil {
				err = errors.Join(err, fmt.Errorf("ring %s keeps the new filter: %w", c.readers[index].name, back))
			}
		}
		return err
	}
	return nil
}

// noteFilter dates a new policy in each ring.
func (c *Capture) noteFilter(before *filter.Program) {
	text := fmt.Sprintf("filter replaced: program %s, before %s", c.exact.Hash(), before.Hash())
	now := time.Now().UnixNano()
	for _, index := range slices.Sorted(maps.Keys(c.readers)) {
		c.sink.Note(pcapng.Note{Kind: pcapng.NoteFilter, To: now, Ring: c.readers[index].name, Text: text})
	}
	c.log.Info("the filter was replaced", zap.String("program", c.exact.Hash()), zap.String("before", before.Hash()),
		zap.Bool("coarse", c.coarse))
}
