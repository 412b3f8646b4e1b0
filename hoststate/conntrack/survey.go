package conntrack

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"

	"github.com/ringside/ringside/hoststate"
)

const (
	sampleEvery = time.Second
	tellDigest  = 5 * time.Minute // whether it changed or not
	smallTable  = 1000            // entries: reading them costs about a millisecond
	dumpShare   = 100             // times as long as a dump takes pass until the next: a hundredth of a core

	leastFall    = 3 // entries fewer than a second ago, or
	leastInvalid = 7 // packets that fit no connection: then the table is read at once. After a loss there were 7 and more
)

// Gap is the data of conntrack.gap.
type Gap struct {
	Lost  uint64 `json:"lost"`  // events that the kernel could not deliver; 0 if it does not tell
	Times uint64 `json:"times"` // it said so
}

// survey reads the table. One goroutine runs it and owns all fields but those that say otherwise.
type survey struct {
	w     *Watcher
	out   hoststate.Sink
	flows *flows       // shared with the reader
	port  uint32       // of the reader's socket
	read  atomic.Int64 // ns after begun: all events of until then were read; the reader sets it

	mu    sync.Mutex // guards gaps and gapAt
	gaps  uint64
	gapAt time.Time
	wake  chan struct{}

	begun    time.Time
	events   string // net.netfilter.nf_conntrack_events at the beginning
	drops    uint64 // of the reader's socket, as told
	last     sample
	steepest sample        // the one with the largest fall since the latest dump
	fall     uint64        // that one's
	invalid  uint64        // the kernel's number at the latest dump
	want     bool          // a dump is due as soon as it may be taken
	gapped   bool          // events are missing since the latest dump
	dumped   time.Time     // when the latest ended
	took     time.Duration // by it
	table    *Digest       // what it said; nil before the first
	forgets  time.Duration // see shortest
	trouble  error         // why nothing is known now
	told     *Digest       // latest
	toldAt   time.Time
	blind    []string
}

// sample is what is cheap to know.
type sample struct {
	at               time.Time
	entries, invalid uint64
}

func newSurvey(w *Watcher, out hoststate.Sink, flows *flows, port uint32) *survey {
	s := &survey{w: w, out: out, flows: flows, port: port, wake: make(chan struct{}, 1), begun: time.Now(), want: true}
	s.events, s.forgets = s.sysctl("nf_conntrack_events"), s.shortest()
	return s
}

func (s *survey) run(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		s.trouble = s.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if _, off := errors.AsType[*hoststate.Unavailable](s.trouble); off {
			return s.trouble
		}
		s.tellBlind()
		select {
		case <-tick.C:
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// caughtUp notes that all events of before t were read. The reader calls it.
func (s *survey) caughtUp(t time.Time) { s.read.Store(int64(t.Sub(s.begun))) }

// gap notes that the kernel said so many times that it could not deliver events, first at that time. The reader calls it.
func (s *survey) gap(at time.Time, times uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gaps == 0 {
		s.gapAt = at
	}
	s.gaps += times
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// behind says whether there was a gap that was not told yet.
func (s *survey) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gaps > 0
}

// tellGap emits what gap noted.
func (s *survey) tellGap() {
	s.mu.Lock()
	g, at := Gap{Times: s.gaps}, s.gapAt
	s.gaps = 0
	s.mu.Unlock()
	if g.Times == 0 {
		return
	}
	s.want, s.gapped = true, true
	_, drops := netfilterSocket(s.w.cfg.Proc, s.port)
	g.Lost, s.drops = drops-min(drops, s.drops), drops
	n := "some"
	if g.Lost > 0 {
		n = strconv.FormatUint(g.Lost, 10)
	}
	s.out.Emit(hoststate.Event{Time: at, Kind: "conntrack.gap", Data: data(g),
		Text: "the kernel could not deliver " + n + " conntrack events: they came faster than they could be read; the table is read again"})
}

// look does what is due.
func (s *survey) look(ctx context.Context) error {
	s.tellGap()
	if now, err := s.sample(ctx); err == nil {
		s.compare(now)
	} else if !errors.Is(err, errPartial) { // the statistics were seen to hang; the table may be read nevertheless
		return err
	}
	since := time.Since(s.dumped)
	s.want = s.want || since >= min(s.w.cfg.Digest, max(sampleEvery, s.forgets-sampleEvery))
	if !s.want || !s.dumped.IsZero() && since < max(sampleEvery, dumpShare*s.took) {
		return nil
	}
	d, m, err := s.digest(ctx)
	if err != nil {
		return err
	}
	s.dumped, s.took, s.table = time.Now(), time.Duration(d.Took*float64(time.Second)), d
	if d.Entries < smallTable {
		s.took = 0 // it is the machine that took so long
	}
	s.forgets = s.shortest()
	dropped := s.tellDrop(m)
	if dropped || s.gapped || d.differs(s.told) || time.Since(s.toldAt) >= tellDigest {
		s.told, s.toldAt = d, time.Now()
		s.out.Emit(hoststate.Event{Kind: "conntrack.digest", Time: s.dumped, Text: d.sentence(), Data: data(d)})
	}
	s.want, s.gapped, s.fall, s.invalid = false, false, 0, s.last.invalid
	return nil
}

// shortest is the shortest time for which the kernel keeps a connection that has ended, by default 10 s after a reset.
// As long as the table is read more often, what has ended still is in it, and only what was destroyed is not.
func (s *survey) shortest() time.Duration {
	least := math.MaxInt
	for _, state := range []string{"close", "last_ack", "close_wait", "time_wait", "fin_wait"} {
		if n, err := strconv.Atoi(s.sysctl("nf_conntrack_tcp_timeout_" + state)); err == nil {
			least = min(least, n)
		}
	}
	if least == math.MaxInt {
		least = 10
	}
	return time.Duration(least) * time.Second
}

// sysctl reads one of net.netfilter, "" if it is not there.
func (s *survey) sysctl(name string) string {
	b, _ := os.ReadFile(filepath.Join(s.w.cfg.Proc, "sys/net/netfilter", name))
	return strings.TrimSpace(string(b))
}

// sample asks for the number of entries and for the statistics of all CPUs.
func (s *survey) sample(ctx context.Context) (sample, error) {
	const globalEntries, cpuInvalid = 1, 4 // CTA_STATS_GLOBAL_ENTRIES, CTA_STATS_INVALID
	now := sample{at: time.Now()}
	err := ask(ctx, ctStats, 0, sampleEvery, func(_ header, body []byte) {
		now.entries = number(find(body[min(nfgenLen, len(body)):], globalEntries))
	})
	if err != nil {
		return now, err
	}
	err = ask(ctx, ctStatsCPU, netlink.Dump, sampleEvery, func(_ header, body []byte) {
		now.invalid += number(find(body[min(nfgenLen, len(body)):], cpuInvalid))
	})
	return now, err
}

// compare wants a dump if the sample says that entries may have been lost.
func (s *survey) compare(now sample) {
	if s.last.at.IsZero() {
		s.invalid = now.invalid
	} else {
		fall := s.last.entries - min(s.last.entries, now.entries)
		if fall > s.fall {
			s.fall, s.steepest = fall, now
		}
		s.want = s.want || fall >= leastFall || now.invalid-min(now.invalid, s.invalid) >= leastInvalid
	}
	s.last = now
}
