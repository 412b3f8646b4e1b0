package lab

import (
	"sync"
	"sync/atomic"
	"time"
)

// tooLong is for how long this process may stand still without a run being in doubt: segments are sent again after
// 200 ms (TCP_RTO_MIN).
const tooLong = 150 * time.Millisecond

// stall measures for how long this process stands still, as it does on a machine that has too much to do, or is a
// virtual one that is not run. The zero value is ready.
type stall struct {
	most    atomic.Int64 // nanoseconds
	done    chan struct{}
	running sync.WaitGroup
}

func (s *stall) watch() {
	const every = 10 * time.Millisecond
	s.done = make(chan struct{})
	s.running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-tick.C:
				late := time.Since(last) - every
				s.most.Store(max(s.most.Load(), int64(late)))
				last = time.Now()
			case <-s.done:
				return
			}
		}
	})
}

func (s *stall) end() {
	close(s.done)
	s.running.Wait()
}

func (s *stall) longest() time.Duration { return time.Duration(s.most.Load()) }
