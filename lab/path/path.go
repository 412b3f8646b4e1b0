package path

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringside/ringside/lab/host"
)

// Conditions of a path. The zero value is a perfect one.
type Conditions struct {
	Delay  time.Duration // of a frame, each way; half of the round trip
	Jitter time.Duration // more delay of a frame, evenly up to this; frames keep their order
	Loss   float64       // share of the frames that is lost, each way; 1 is an outage
	Rate   int64         // bytes a second, each way; 0 is no limit
}

// End is one end of a path: a link that the path makes.
type End struct {
	Host *host.Host
	Link string
}

// queued is how many frames may be on their way in one direction; what comes then is lost, as in a router.
const queued = 4096

// maxFrame is more than any tap device sends, in bytes: its MTU is 1500 and it segments nothing.
const maxFrame = 2048

// Path is a running path. Its methods may be called concurrently.
type Path struct {
	conditions atomic.Pointer[Conditions]
	lost       atomic.Uint64
	passed     atomic.Uint64
	taps       []*os.File
	running    sync.WaitGroup
	close      func()
}

// Connect makes a link on each host and carries frames between them until Close, or until a host is gone. What is lost
// is drawn from the seed.
func Connect(a, b End, c Conditions, seed uint64) (*Path, error) {
	p := &Path{}
	p.close = sync.OnceFunc(p.end)
	p.Set(c)
	for _, e := range []End{a, b} {
		tap, err := e.Host.Tap(e.Link)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("path: %w", err), p.Close())
		}
		p.taps = append(p.taps, tap)
	}
	p.carry(p.taps[0], p.taps[1], rand.New(rand.NewPCG(seed, 0)))
	p.carry(p.taps[1], p.taps[0], rand.New(rand.NewPCG(seed, 1)))
	return p, nil
}

// Set changes the conditions for frames that set out from now on.
func (p *Path) Set(c Conditions) { p.conditions.Store(&c) }

// Conditions returns what was set last.
func (p *Path) Conditions() Conditions { return *p.conditions.Load() }

// Stats returns how many frames have arrived and how many were lost, both ways together.
func (p *Path) Stats() (passed, lost uint64) { return p.passed.Load(), p.lost.Load() }

// Close removes both links. It returns nil, and may be called again.
func (p *Path) Close() error {
	p.close()
	return nil
}

func (p *Path) end() {
	for _, tap := range p.taps {
		tap.Close()
	}
	p.running.Wait()
}

// frame is one that is on its way.
type frame struct {
	due  time.Time
	data []byte
}

// carry takes frames from one tap to the other in two goroutines, which end when their tap is closed.
func (p *Path) carry(from, to *os.File, random *rand.Rand) {
	way := make(chan frame, queued)
	p.running.Go(func() {
		defer close(way)
		p.take(from, way, random)
	})
	p.running.Go(func() {
		for f := range way {
			time.Sleep(time.Until(f.due))
			if _, err := to.Write(f.data); err != nil { // the link is down, or gone
				p.lost.Add(1)
				continue
			}
			p.passed.Add(1)
		}
	})
}

// take reads frames and decides what becomes of each.
func (p *Path) take(from io.Reader, way chan<- frame, random *rand.Rand) {
	buf := make([]byte, maxFrame)
	var last, free time.Time // when the last frame arrives, and when the line is free again
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		now, c := time.Now(), p.conditions.Load()
		if random.Float64() < c.Loss {
			p.lost.Add(1)
			continue
		}
		if free.Before(now) {
			free = now
		}
		if c.Rate > 0 {
			free = free.Add(time.Duration(n) * time.Second / time.Duration(c.Rate))
		}
		due := free.Add(c.Delay)
		if c.Jitter > 0 {
			due = due.Add(time.Duration(random.Int64N(int64(c.Jitter))))
		}
		if due.Before(last) {
			due = last
		}
		select {
		case way <- frame{due, append([]byte(nil), buf[:n]...)}:
			last = due
		default:
			p.lost.Add(1)
		}
	}
}
