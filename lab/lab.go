package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/ringside/ringside/lab/traffic"
)

// Lab is a running laboratory. Fault has it alone.
type Lab struct {
	*World
	Setup    *Setup
	Served   map[string]*traffic.Server // by the name of the service
	Names    *traffic.Names             // on Cache, port 53
	Pools    []*Pool
	Recorder *Recorder
	Networkd *Networkd // nil without Setup.DHCP

	fault Fault
	stall stall
	say   func(format string, args ...any)
}

// Pool is the clients of a service in one pod.
type Pool struct {
	*traffic.Pool
	Pod     int
	Service string
}

// Fault is what was done, and when.
type Fault struct {
	What  string    `json:"what"`
	At    time.Time `json:"at"`    // right before it was begun
	Until time.Time `json:"until"` // right after it was over, whatever it left behind
}

// Begin says that the fault is brought about now.
func (l *Lab) Begin(format string, args ...any) {
	l.fault = Fault{What: fmt.Sprintf(format, args...), At: now()}
	l.say("%s", l.fault.What)
}

// End says that it is over. Without it, it is when Scenario.Fault returns.
func (l *Lab) End() {
	if l.fault.Until.IsZero() {
		l.fault.Until = now()
	}
}

// now is the time of the wall clock alone, as packets and events bear it.
func now() time.Time { return time.Now().Round(0).UTC() }

// Wait lets the laboratory go on for a while.
func (l *Lab) Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Of returns the clients of a service.
func (l *Lab) Of(service string) (list []*Pool) {
	for _, p := range l.Pools {
		if p.Service == service {
			list = append(list, p)
		}
	}
	return list
}

// NamesAddr is where the name server is asked.
func (w *World) NamesAddr() netip.AddrPort { return netip.AddrPortFrom(w.Servers[Cache].Addr, 53) }

// serve starts the servers.
func (l *Lab) serve() (err error) {
	if l.Names, err = traffic.ServeNames(l.Servers[Cache], l.NamesAddr()); err != nil {
		return err
	}
	l.onClose(func() error { l.Names.Stop(); return nil })
	l.Served = map[string]*traffic.Server{}
	for _, s := range l.Setup.Services {
		at := l.Servers[s.Server]
		served, err := traffic.Serve(at, netip.AddrPortFrom(at.Addr, s.Port), s.Behaviour)
		if err != nil {
			return err
		}
		l.onClose(func() error { served.Stop(traffic.Reset); return nil })
		l.Served[s.Name] = served
	}
	return nil
}

// connect starts the clients and waits until every connection had an answer.
func (l *Lab) connect(ctx context.Context) error {
	for i, s := range l.Setup.Services {
		for _, pod := range s.Pods {
			load := s.Load
			load.Service, load.Server = s.Name, l.Served[s.Name].Addr()
			load.Timeout = l.Setup.Timeout
			if s.Resolve {
				load.Names = l.NamesAddr()
			}
			load.Seed = l.Setup.Seed ^ uint64(i<<8|pod)
			p := &Pool{Pool: traffic.Start(l.Pods[pod], load), Pod: pod, Service: s.Name}
			l.Pools = append(l.Pools, p)
			l.onClose(func() error { p.Stop(0); return nil })
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var errs []error
	for _, p := range l.Pools {
		errs = append(errs, p.Ready(ctx))
	}
	return errors.Join(errs...)
}

// stop ends all clients at once.
func (l *Lab) stop() {
	var all sync.WaitGroup
	for _, p := range l.Pools {
		all.Go(func() { p.Stop(0) })
	}
	all.Wait()
}
