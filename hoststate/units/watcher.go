package units

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/ringside/ringside/hoststate"
)

// Default is the units that decide what becomes of a node's connections, and those that restart them.
var Default = []string{
	"systemd-networkd.service", "systemd-resolved.service", "NetworkManager.service", "wicked*.service", "dhcpcd*.service", "dhclient*.service",
	"networking.service", "ifup@*.service", "cloud-init*.service",
	"firewalld.service", "nftables.service", "iptables.service", "ip6tables.service", "netfilter-persistent.service", "ufw.service",
	"containerd.service", "crio.service", "docker.service", "kubelet.service", "k3s*.service", "rke2*.service", "kube-proxy.service", "aws-node.service",
	"chronyd.service", "chrony.service", "ntpd.service", "systemd-timesyncd.service",
	"apt-daily*.service", "unattended-upgrades.service", "needrestart*.service", "dnf-automatic*.service", "packagekit.service",
	"update-engine.service", "locksmithd.service",
	"reboot.target", "poweroff.target", "dbus.service", "dbus-broker.service",
}

// maxUnits bounds how many units are watched, whatever the globs find.
const maxUnits = 512

// Config is which units are watched.
type Config struct {
	Root  string   // the host's file system; default /
	Units []string // names, or globs as path.Match has them; default Default
}

// Watcher watches units. Its name is units.
type Watcher struct {
	cfg   Config
	units map[string]*unit // these belong to Run; kept between two, so that what happened meanwhile is told
	begun bool             // units has what was there at first

	synced func() // for tests: called by Run when it has seen what is there
	deaf   bool   // for tests: signals are missed
}

// New returns a watcher of what cfg names.
func New(cfg Config) *Watcher {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if len(cfg.Units) == 0 {
		cfg.Units = Default
	}
	return &Watcher{cfg: cfg, units: map[string]*unit{}}
}

// Name returns units.
func (w *Watcher) Name() string { return "units" }

// Run watches until ctx is done. It returns *hoststate.Unavailable if the bus cannot be reached.
func (w *Watcher) Run(ctx context.Context, out hoststate.Sink) error {
	b, err := dial(ctx, w.cfg.Root, w.watched)
	if err != nil {
		return err
	}
	defer b.conn.Close()
	if w.deaf {
		b.signals = make(chan *dbus.Signal)
	}
	if err := errors.Join(b.subscribe(ctx), w.sync(ctx, b, out)); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("systemd does not answer over D-Bus: %w: check the host's dbus.service", err)
	}
	if w.synced != nil {
		w.synced()
	}
	tick := time.NewTicker(grace / 4)
	defer tick.Stop()
	for {
		select {
		case s := <-b.signals:
			w.take(s, out)
		case <-tick.C:
			if b.missed.Swap(false) {
				if err := w.sync(ctx, b, out); err != nil && ctx.Err() == nil {
					return fmt.Errorf("systemd does not answer over D-Bus: %w: check the host's dbus.service", err)
				}
			}
			w.settle(out)
		case <-b.conn.Context().Done():
			if ctx.Err() != nil {
				return nil
			}
			return errors.New("the D-Bus connection has ended: check the host's dbus.service")
		case <-ctx.Done():
			return nil
		}
	}
}

// watched says whether a unit is to be watched.
func (w *Watcher) watched(name string) bool {
	return slices.ContainsFunc(w.cfg.Units, func(glob string) bool {
		ok, err := path.Match(glob, name)
		return ok && err == nil || glob == name
	})
}

// sync asks for the state of all units, and tells what has changed since they were seen last. What it finds the first time
// is told as nothing new.
func (w *Watcher) sync(ctx context.Context, b *bus, out hoststate.Sink) error {
	names, err := b.list(ctx, w.cfg.Units)
	if err != nil {
		return err
	}
	for name := range w.units {
		if !slices.Contains(names, name) { // no longer in memory: it is not active
			names = append(names, name)
		}
	}
	var events []hoststate.Event
	for _, name := range names[:min(len(names), maxUnits)] {
		s, err := b.state(ctx, name)
		var refused dbus.Error
		if errors.As(err, &refused) {
			continue // it was unloaded meanwhile
		}
		if err != nil {
			return err
		}
		if !w.begun {
			w.units[name] = newUnit(name, s)
		} else {
			events = append(events, w.unit(name).see(s, time.Now().UTC())...)
		}
	}
	w.begun = true
	slices.SortStableFunc(events, func(a, b hoststate.Event) int { return a.Time.Compare(b.Time) })
	w.emit(events, out)
	return nil
}

// unit finds a unit by its name. One that was not in systemd's memory before was not active.
func (w *Watcher) unit(name string) *unit {
	u := w.units[name]
	if u == nil {
		u = newUnit(name, state{Active: "inactive", Sub: "dead"})
		w.units[name] = u
	}
	return u
}

// take takes a signal. systemd sends what a unit's kind has first and then what all units have, so the latter completes
// the state.
func (w *Watcher) take(s *dbus.Signal, out hoststate.Sink) {
	name, ok := unitName(s.Path)
	if !ok || len(s.Body) < 2 {
		return
	}
	face, _ := s.Body[0].(string)
	changed, ok := s.Body[1].(map[string]dbus.Variant)
	if !ok {
		return
	}
	if w.units[name] == nil && len(w.units) >= maxUnits {
		return
	}
	u := w.unit(name)
	u.next.apply(changed)
	if face == unitFace {
		w.emit(u.see(u.next, time.Now().UTC()), out)
	}
}

// settle tells the stops that did not become restarts.
func (w *Watcher) settle(out hoststate.Sink) {
	now := time.Now().UTC()
	for _, u := range w.units {
		if e, ok := u.settle(now); ok {
			w.emit([]hoststate.Event{e}, out)
		}
	}
}

func (w *Watcher) emit(events []hoststate.Event, out hoststate.Sink) {
	for _, e := range events {
		out.Emit(e)
	}
}
