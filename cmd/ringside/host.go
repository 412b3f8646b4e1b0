package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/hoststate/conntrack"
	"github.com/ringside/ringside/hoststate/counters"
	"github.com/ringside/ringside/hoststate/logs"
	"github.com/ringside/ringside/hoststate/logs/journal"
	"github.com/ringside/ringside/hoststate/network"
	"github.com/ringside/ringside/hoststate/state"
	"github.com/ringside/ringside/hoststate/units"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
)

// host is what watches the host, and where it is kept.
type host struct {
	timeline  *hoststate.Timeline
	watch     *hoststate.Watch
	conntrack *conntrack.Watcher
	taker     *state.Taker // nil if no snapshots are taken
	log       *zap.Logger
}

// openHost opens the timeline in the spool's directory and chooses the watchers. Nothing is watched until its stages run.
func openHost(cfg *config.Config, spool *rotate.Spool, uplinks func() []string, log *zap.Logger) (*host, error) {
	timeline, err := hoststate.Open(hoststate.Config{
		Dir: filepath.Join(spool.Dir(), timelineDir), Keep: timelineKeep(cfg), Pins: spool.Pins,
	}, log.Named("timeline"))
	if err != nil {
		return nil, err
	}
	h := &host{timeline: timeline, log: log.Named("watch")}
	presets, err := logPresets(cfg)
	if err != nil {
		return nil, err
	}
	c := cfg.Hoststate
	services := watchedServices(cfg.Capture.Services)
	h.conntrack = conntrack.New(conntrack.Config{Services: services, Buffer: int(c.Conntrack.Buffer), Digest: c.Conntrack.Digest})
	h.taker = state.New(state.Config{Services: services})
	places := filepath.Join(timeline.Dir(), "places")
	watchers := []hoststate.Watcher{
		h.conntrack, h.taker,
		counters.New(counters.Config{SpoolDir: spool.Dir(), Uplinks: uplinks, Driver: capture.DriverStatistics}),
		network.New(network.Config{}), network.NewRuleset(network.Config{}), network.NewSysctls(network.Config{}),
		units.New(units.Config{Root: c.Root, Units: watchedUnits(c.Units)}),
		journal.New(journal.Config{Root: c.Root, Units: watchedUnits(c.Units), State: places, Recent: h.recent("journal")}),
		logs.New(logs.Config{Root: c.Root, State: places, Presets: presets, Recent: h.recent("logs")}),
		logs.NewKernel(logs.KernelConfig{Root: c.Root, State: places, Recent: h.recent("kernel")}),
	}
	watchers = slices.DeleteFunc(watchers, func(w hoststate.Watcher) bool { return !slices.Contains(c.Watch, w.Name()) })
	if !slices.Contains(c.Watch, h.taker.Name()) {
		h.taker = nil
	}
	h.watch = hoststate.NewWatch(watchers, timeline.Emit, h.log)
	return h, nil
}

// ownRings are the interfaces with a ring of their own: the uplinks, and whatever else matters.
func ownRings(s capture.Status) (names []string) {
	for _, i := range s.Interfaces {
		if i.State == capture.StateRecording && i.Ring == i.Name {
			names = append(names, i.Name)
		}
	}
	return names
}

// timelineKeep is what bounds the timeline: its own size, and the spool's age.
func timelineKeep(cfg *config.Config) hoststate.Keep {
	return hoststate.Keep{Bytes: cfg.Hoststate.Keep.Bytes, Age: cfg.Rotate.Keep.Age}
}

// watchedServices are those whose connections can be told from their addresses and ports.
func watchedServices(services []filter.Service) (list []conntrack.Service) {
	for _, s := range services {
		if s.Expression != "" {
			continue
		}
		w := conntrack.Service{Name: s.Name, Protocol: s.Protocol, CIDRs: s.CIDRs}
		for _, r := range s.Ports {
			w.Ports = append(w.Ports, conntrack.PortRange{First: r.First, Last: r.Last})
		}
		list = append(list, w)
	}
	return list
}

// setServices takes over the services that are watched from now on.
func (h *host) setServices(services []filter.Service) {
	list := watchedServices(services)
	h.conntrack.SetServices(list)
	if h.taker != nil {
		h.taker.SetServices(list)
	}
}

// watchedUnits puts the usual ones in the place of their name.
func watchedUnits(globs []string) (list []string) {
	for _, glob := range globs {
		if glob == config.Usual {
			list = append(list, units.Default...)
		} else {
			list = append(list, glob)
		}
	}
	return list
}

// logPresets are the logs to follow.
func logPresets(cfg *config.Config) (list []logs.Preset, err error) {
	for i, l := range cfg.Hoststate.Logs {
		key := fmt.Sprintf("hoststate.logs[%d]", i)
		switch {
		case l.Name == config.Usual:
			for _, name := range logs.Known() {
				p, _ := logs.Lookup(name)
				list = append(list, p)
			}
		case l.Path == "":
			p, ok := logs.Lookup(l.Name)
			if !ok {
				return nil, cfg.Problem(key, fmt.Sprintf("%q is no preset: there are %v; a log of your own needs a path", l.Name, logs.Known()))
			}
			list = append(list, p)
		default:
			p := logs.Preset{Name: l.Name, Paths: []string{l.Path}, Time: l.Time, Observations: l.Kind == "observation"}
			if l.Match != "" {
				p.Match = regexp.MustCompile(l.Match) // config has compiled it
			}
			list = append(list, p)
		}
	}
	return list, nil
}

// recent returns what reads the events of a follower since then, for it to find its place again.
func (h *host) recent(source string) func(time.Time) iter.Seq[hoststate.Event] {
	return func(since time.Time) iter.Seq[hoststate.Event] {
		return func(yield func(hoststate.Event) bool) {
			q := hoststate.Query{SeenFrom: since, Sources: []string{source}}
			err := hoststate.OpenReader(h.timeline.Dir()).Read(context.Background(), q, func(e hoststate.Event) error {
				if !yield(e) {
					return context.Canceled
				}
				return nil
			})
			if err != nil && !errors.Is(err, context.Canceled) {
				h.log.Warn("the timeline cannot be read: lines from before the last start may come again", zap.String("watcher", source), zap.Error(err))
			}
		}
	}
}

// lookAt has the engine's incidents noted on the timeline, with the state of the host at their beginning and end.
func (h *host) lookAt(cfg *trigger.Config) {
	cfg.Accepted = func(t trigger.Trigger, i trigger.Incident) {
		h.timeline.Emit(hoststate.Event{Kind: "trigger.accepted", Subject: i.ID, Incident: i.ID, Text: fmt.Sprintf("%s: %s", t.Source, t.Reason)})
		if h.taker != nil && i.ID == t.ID {
			h.taker.Request("trigger", i.ID)
		}
	}
	cfg.Closing = func(ctx context.Context, i trigger.Incident) {
		if h.taker == nil {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
		defer cancel()
		h.timeline.Emit(h.taker.Take(ctx, "end", i.ID))
	}
}

// snapshotTimeout bounds how long the end of an incident waits for the state of the host.
const snapshotTimeout = 10 * time.Second

// notice keeps snapshots of a quiet host from being taken while something goes on.
func (h *host) notice(e hoststate.Event) {
	if h.taker != nil && (e.Kind == "conntrack.burst" || e.Kind == "conntrack.drop" || e.Kind == "finding") {
		h.taker.Disturb()
	}
}

// observe takes what others saw.
func (h *host) observe(events ...hoststate.Event) {
	for _, e := range events {
		h.timeline.Emit(e)
	}
}
