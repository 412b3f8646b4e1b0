package conntrack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Dump reads the table and returns the entries of the services, each with the name of its own, at most so many of
// them, and how many there are. nil services are all entries. It may be called at any time, from any goroutine, needs CAP_NET_ADMIN
// and takes a few µs an entry of the table, and never more than 10 s. With an error, what was read so far is returned.
func Dump(ctx context.Context, services []Service, most int) (entries []Entry, total int, err error) {
	err = readTable(ctx, func(e *Entry) {
		if serviceOf(services, e) < 0 && services != nil {
			return
		}
		if total++; len(entries) < most {
			entries = append(entries, *e)
		}
	})
	return entries, total, err
}

// readTable hands take every entry of the table, valid until take returns.
func readTable(ctx context.Context, take func(*Entry)) error {
	var e event
	now := time.Now()
	return ask(ctx, ctGet, netlink.Dump, dumpTime, func(h header, body []byte) {
		if e.parse(h, body, now) {
			take(&e.Entry)
		}
	})
}

// Digest is the data of conntrack.digest: the table at one moment.
type Digest struct {
	Entries  uint64                   `json:"entries"`
	States   map[string]uint64        `json:"states"` // by protocol, and for TCP also by state: "tcp ESTABLISHED"
	Flows    int                      `json:"flows"`  // established, assured, with more than 30 s left
	Older    int                      `json:"older"`  // of these, made before the watcher began: they may emit no events
	Services map[string]ServiceDigest `json:"services,omitempty"`
	Took     float64                  `json:"took_seconds"`
	Partial  string                   `json:"partial,omitempty"` // why there is more in the table than here
}

// ServiceDigest is what the table has of a service.
type ServiceDigest struct {
	Entries uint64 `json:"entries"`
	Flows   uint64 `json:"flows"`
}

// tableCount counts a dump without allocation.
type tableCount struct {
	entries   uint64
	protocols [256]uint64
	states    [256]uint64 // of TCP
	services  []ServiceDigest
}

func (t *tableCount) add(e *Entry, service int) {
	t.entries++
	if e.Protocol == unix.IPPROTO_TCP {
		t.states[e.State]++
	} else {
		t.protocols[e.Protocol]++
	}
	if service >= 0 {
		t.services[service].Entries++
		if e.IsFlow() {
			t.services[service].Flows++
		}
	}
}

func (t *tableCount) digest(services []Service) *Digest {
	d := &Digest{Entries: t.entries, States: map[string]uint64{}, Services: map[string]ServiceDigest{}}
	for p, n := range t.protocols {
		if n > 0 {
			d.States[Protocol(p).String()] = n
		}
	}
	for s, n := range t.states {
		if n > 0 {
			d.States[strings.TrimSpace("tcp "+State(s).String())] = n
		}
	}
	for i, n := range t.services {
		d.Services[services[i].Name] = n
	}
	return d
}

// differs says whether what d tells is worth telling after what was told last: some number is another by a fifth, and by
// ten at least.
func (d *Digest) differs(last *Digest) bool {
	far := func(a, b uint64) bool {
		more, less := max(a, b), min(a, b)
		return more-less >= 10 && (more-less)*5 >= more
	}
	if last == nil || far(d.Entries, last.Entries) || far(uint64(d.Flows), uint64(last.Flows)) || d.Partial != last.Partial {
		return true
	}
	for _, states := range []map[string]uint64{d.States, last.States} {
		for s := range states {
			if far(d.States[s], last.States[s]) {
				return true
			}
		}
	}
	for name, n := range d.Services {
		if far(n.Flows, last.Services[name].Flows) || far(n.Entries, last.Services[name].Entries) {
			return true
		}
	}
	return false
}

func (d *Digest) sentence() string {
	s := fmt.Sprintf("%d entries, of which %d are established connections", d.Entries, d.Flows)
	if d.Older > 0 {
		s += fmt.Sprintf(", %d of them older than the recorder", d.Older)
	}
	return s
}

// digest dumps the table, and compares it with the dump before.
func (s *survey) digest(ctx context.Context) (*Digest, missing, error) {
	services := *s.w.services.Load()
	count := tableCount{services: make([]ServiceDigest, len(services))}
	begun := time.Now()
	first := s.flows.begin()
	err := readTable(ctx, func(e *Entry) {
		i := serviceOf(services, e)
		count.add(e, i)
		s.flows.there(e, i, first)
	})
	now := time.Now()
	if err != nil && !errors.Is(err, errPartial) {
		s.flows.end(begun, now, services, false)
		return nil, missing{}, err
	}
	caughtUp := s.await(ctx, now)
	m := s.flows.end(begun, now, services, err == nil)
	m.sure = m.sure && caughtUp && !s.behind()
	d := count.digest(services)
	d.Flows, d.Older, d.Took = m.flows, m.older, now.Sub(begun).Seconds()
	if err != nil {
		d.Partial = err.Error()
	}
	return d, m, nil
}

// await waits until the reader has read the events of before t, for events say what became of entries that a dump has
// not. It returns false if that takes too long.
func (s *survey) await(ctx context.Context, t time.Time) bool {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for late := t.Add(5 * time.Second); s.read.Load() <= int64(t.Sub(s.begun)); {
		select {
		case now := <-poll.C:
			if now.After(late) {
				return false
			}
		case <-ctx.Done():
			return false
		}
	}
	return true
}
