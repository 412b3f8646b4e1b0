package parity

import (
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/lab/host"
)

// conditions of a cable, each way.
type conditions struct {
	delay     time.Duration
	loss      float64 // share of the frames
	reordered float64 // share of the frames that take longer than those behind them
	longer    time.Duration
}

// inFlight is how many frames may be on the cable in one direction.
const inFlight = 4096

// cable carries frames between two tap devices. Beside lab/path, which keeps their order, it lets some of them fall behind.
type cable struct {
	conditions
	taps    [2]*os.File
	running sync.WaitGroup
}

// connect makes a link on each host and carries frames between them until the test ends.
func connect(t *testing.T, a, b *host.Host, link string, c conditions, seed uint64) {
	t.Helper()
	w := &cable{conditions: c}
	for i, h := range []*host.Host{a, b} {
		tap, err := h.Tap(link)
		if err != nil {
			t.Fatal(err)
		}
		w.taps[i] = tap
	}
	w.carry(w.taps[0], w.taps[1], rand.New(rand.NewPCG(seed, 0)))
	w.carry(w.taps[1], w.taps[0], rand.New(rand.NewPCG(seed, 1)))
	t.Cleanup(func() {
		for _, tap := range w.taps {
			tap.Close()
		}
		w.running.Wait()
	})
}

type carried struct {
	due  time.Time
	data []byte
}

func (w *cable) carry(from, to *os.File, random *rand.Rand) {
	way := make(chan carried, inFlight)
	deliver := func(f carried) {
		time.Sleep(time.Until(f.due))
		_, _ = to.Write(f.data) // fails when the link is down or the test has ended; the frame is lost, as on a wire
	}
	w.running.Go(func() {
		for f := range way {
			deliver(f)
		}
	})
	w.running.Go(func() {
		defer close(way)
		for {
			buf := make([]byte, 2048)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			f := carried{time.Now().Add(w.delay), buf[:n]}
			switch draw := random.Float64(); {
			case draw < w.loss:
			case draw < w.loss+w.reordered:
				f.due = f.due.Add(w.longer)
				w.running.Go(func() { deliver(f) })
			default:
				select {
				case way <- f:
				default: // lost, as where a queue is full
				}
			}
		}
	})
}
