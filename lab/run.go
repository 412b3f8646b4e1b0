package lab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// Options say what is run, and how.
type Options struct {
	Scenario string
	Variant  string // "" for the first
	Family   int    // 4 or 6; 0 is drawn
	Seed     uint64 // of everything that is random
	Keep     string // folder that gets the bundle, the configuration, the log and the result; "" keeps nothing

	// Daemon makes the command of the recorder from its configuration file. ctx kills it.
	Daemon func(ctx context.Context, config string) *exec.Cmd

	Progress func(Progress) // is told what happens; nil: nobody
}

// Progress is one step of a run.
type Progress struct {
	After time.Duration // since the run began
	Text  string
}

// before is the time between the clients being ready and the fault: what is normal must be seen, too.
const before = 3 * time.Second

// attempts is how often a run is made on a machine that keeps standing still.
const attempts = 3

// Run runs one scenario. It returns *Skipped if that cannot be done here; a result whose expectations do not hold is no
// error. A run that did not show what it must while the machine stood still says nothing, and is made again, twice at
// most: this process is the network outside. It needs root.
func Run(ctx context.Context, o Options) (*Result, error) {
	scenario, err := Find(o.Scenario)
	if err != nil {
		return nil, err
	}
	variant, err := scenario.variant(o.Variant)
	if err != nil {
		return nil, err
	}
	if scenario.Needs != nil {
		if err := scenario.Needs(variant.Name); err != nil {
			return nil, &Skipped{err}
		}
	}
	ipv6, err := o.ipv6()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	say := func(format string, args ...any) {
		if o.Progress != nil {
			o.Progress(Progress{time.Since(began), fmt.Sprintf(format, args...)})
		}
	}
	for n := 1; ; n++ {
		l := &Lab{Setup: draw(scenario, variant, ipv6, o.Seed), say: say}
		l.World = &World{setup: l.Setup}
		r, err := l.once(ctx, scenario, variant, o)
		if err = errors.Join(err, l.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", scenario.Name, err)
		}
		r.Took, r.Attempts = time.Since(began).Round(10*time.Millisecond).String(), n
		if r.Passed || n == attempts || l.stall.longest() < tooLong {
			return r, nil
		}
		say("the machine stood still for %v: once more", l.stall.longest().Round(time.Millisecond))
	}
}

// ipv6 is the family that is asked for, nil for none.
func (o Options) ipv6() (*bool, error) {
	six := o.Family == 6
	switch o.Family {
	case 0:
		return nil, nil
	case 4, 6:
		return &six, nil
	}
	return nil, fmt.Errorf("family %d: it is 4 or 6, or 0 to be drawn", o.Family)
}

// once makes one run and judges it.
func (l *Lab) once(ctx context.Context, scenario Scenario, variant Variant, o Options) (*Result, error) {
	seen, err := l.run(ctx, scenario, o)
	if err != nil {
		return nil, err
	}
	expectations := common(seen)
	if scenario.Expect != nil {
		expectations = append(expectations, scenario.Expect(seen)...)
	}
	expectations = append(expectations, judged(seen)...)
	r := seen.result(scenario, expectations)
	r.Stall = l.stall.longest().Round(time.Millisecond).String()
	if o.Keep != "" {
		err = l.keep(o.Keep, seen, r)
	}
	return r, err
}

// run builds the laboratory, brings the fault about, and collects what was seen of it.
func (l *Lab) run(ctx context.Context, scenario Scenario, o Options) (*Seen, error) {
	l.say("building: %s", l.Setup)
	if err := l.build(); err != nil {
		return nil, err
	}
	l.stall.watch()
	defer l.stall.end()
	if err := l.serve(); err != nil {
		return nil, err
	}
	if l.Setup.DHCP != "" {
		if err := l.lease(ctx); err != nil {
			return nil, err
		}
	}
	start := func() error { return l.start(ctx, o.Daemon) }
	connect := func() error { return l.connect(ctx) }
	steps := []func() error{start, connect}
	if l.Setup.Older {
		steps = []func() error{func() error { return l.unheard(connect) }, start}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	recording := now()
	l.say("recording %d connections", len(l.flows()))
	if err := l.Wait(ctx, before); err != nil {
		return nil, err
	}
	if err := scenario.Fault(ctx, l); err != nil {
		return nil, fmt.Errorf("bring the fault about: %w", err)
	}
	l.End()
	l.say("over; watching what follows")
	if err := l.Wait(ctx, l.Setup.After); err != nil {
		return nil, err
	}
	for _, kind := range l.Setup.Await {
		if err := l.Recorder.noticed(ctx, kind, l.fault.At); err != nil {
			return nil, err
		}
	}
	seen := &Seen{Setup: l.Setup, Fault: l.fault, World: l.World}
	for _, p := range l.Pools {
		seen.Outcomes = append(seen.Outcomes, Outcome{p.Pod, p.Outcome(l.fault.At, l.fault.Until)})
	}
	l.stop()
	return seen, l.collect(ctx, scenario, seen, recording)
}

// unheard calls f as if nobody listened to connection tracking: what begins meanwhile tells of nothing later. By default
// that is so where nobody listens, but the kernel's flag for it is one for all namespaces, and others may be listening.
func (l *Lab) unheard(f func() error) error {
	const events = "net/netfilter/nf_conntrack_events"
	usual, err := l.Node.ReadSysctl(events)
	if err != nil {
		return err
	}
	if err := l.Node.Sysctl(events, "0"); err != nil {
		return err
	}
	return errors.Join(f(), l.Node.Sysctl(events, usual))
}
