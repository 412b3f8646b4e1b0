package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/upload"
)

// describer says what the recorder is at a moment, for the manifests of its incidents.
type describer struct {
	status   func() capture.Status
	program  func() *filter.Program // of the services in force
	watchers func() []hoststate.WatcherStatus
	started  time.Time
	log      *zap.Logger

	mu       sync.Mutex
	services []upload.ServiceFact
}

// blindSpots is what no recorder of this kind sees, whatever its configuration.
var blindSpots = []string{
	"packets that bypass the interface's socket taps: XDP redirect or drop, AF_XDP, kernel bypass (DPDK, RDMA)",
	"segments as on the wire: GRO and TSO merge and split them, so lengths and checksums are the kernel's",
	"ports behind more than 8 IPv6 extension headers or ESP, and more than two VLAN tags",
}

// configure takes over the services that are recorded from now on.
func (d *describer) configure(services []filter.Service) {
	facts := []upload.ServiceFact{}
	for _, s := range services {
		facts = append(facts, upload.ServiceFact{Name: s.Name, Match: match(s), Payload: payload(s.Payload)})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.services = facts
}

func (d *describer) describe() json.RawMessage {
	d.mu.Lock()
	r := upload.Recorder{Services: d.services}
	d.mu.Unlock()
	program := d.program()
	r.Filter = upload.FilterFact{Text: program.String(), SHA256: program.Hash()}
	r.Version, r.Go, r.Machine, r.Started = version, runtime.Version(), runtime.GOARCH, d.started.UTC().Round(0)
	r.Hostname, _ = os.Hostname() // empty if the kernel does not say
	r.Kernel = kernel()
	r.Clock = clock()
	r.Interfaces, r.BlindSpots = []upload.InterfaceFact{}, blindSpots
	r.Watchers = d.watchers()
	status := d.status()
	for _, i := range status.Interfaces {
		r.Interfaces = append(r.Interfaces, upload.InterfaceFact{Name: i.Name, Index: i.Index, State: i.State, Why: i.Why, Ring: i.Ring})
		if i.State == capture.StateBlind {
			r.BlindSpots = append(r.BlindSpots[:len(r.BlindSpots):len(r.BlindSpots)], fmt.Sprintf("interface %s: %s", i.Name, i.Why))
		}
	}
	for _, g := range status.Rings {
		if g.Coarse != "" {
			r.Filter.Coarse = g.Coarse
		}
	}
	b, err := json.Marshal(r)
	if err != nil { // plain values: cannot fail
		d.log.Error("the recorder cannot be described", zap.Error(err))
	}
	return b
}

// match is the service as a configuration would say it; serviceOf reads it.
func match(s filter.Service) string {
	if s.Expression != "" {
		return "filter " + s.Expression
	}
	text := s.Protocol
	if text == "" {
		text = "tcp, udp"
	}
	if len(s.Ports) > 0 {
		text += " ports " + join(s.Ports, func(r filter.PortRange) string {
			if r.First == r.Last {
				return fmt.Sprint(r.First)
			}
			return fmt.Sprintf("%d-%d", r.First, r.Last)
		})
	}
	if len(s.CIDRs) > 0 {
		text += " of " + join(s.CIDRs, netip.Prefix.String)
	}
	return text
}

// serviceOf reads back what match has said, but for the protocol, which names nothing. It is false of a filter, and of what
// match would not say: a manifest is not trusted.
func serviceOf(f upload.ServiceFact) (s filter.Service, ok bool) {
	s.Name = f.Name
	text, cidrs, hasCIDRs := strings.Cut(f.Match, " of ")
	_, ports, hasPorts := strings.Cut(text, " ports ")
	if hasPorts {
		for text := range strings.SplitSeq(ports, ", ") {
			first, last, ranged := strings.Cut(text, "-")
			if !ranged {
				last = first
			}
			a, err := strconv.ParseUint(first, 10, 16)
			b, errLast := strconv.ParseUint(last, 10, 16)
			if err != nil || errLast != nil {
				return s, false
			}
			s.Ports = append(s.Ports, filter.PortRange{First: uint16(a), Last: uint16(b)})
		}
	}
	if hasCIDRs {
		for text := range strings.SplitSeq(cidrs, ", ") {
			c, err := netip.ParsePrefix(text)
			if err != nil {
				return s, false
			}
			s.CIDRs = append(s.CIDRs, c)
		}
	}
	return s, len(s.Validate()) == 0
}

func join[T any](list []T, text func(T) string) string {
	var parts []string
	for _, v := range list {
		parts = append(parts, text(v))
	}
	return strings.Join(parts, ", ")
}

func payload(n int) string {
	if n == filter.Full {
		return "full"
	}
	return fmt.Sprint(n)
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Version[:])
}

// clock asks the kernel what it knows of the wall clock (adjtimex(2)), which needs no rights.
func clock() upload.ClockFact {
	var t unix.Timex
	f := upload.ClockFact{Source: "unknown"}
	if b, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource"); err == nil {
		f.Source = strings.TrimSpace(string(b))
	}
	state, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &t)
	if err != nil {
		return f
	}
	f.Synchronised = state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
	f.OffsetNS = t.Offset * 1000
	if t.Status&unix.STA_NANO != 0 {
		f.OffsetNS = t.Offset
	}
	f.ErrorNS = t.Maxerror * 1000
	return f
}
