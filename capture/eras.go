package capture

import (
	"math"
	"time"

	"github.com/ringside/ringside/capture/filter"
)

const (
	// settle is how long after a filter was replaced a packet that the one before let through may still come, bearing a
	// time from then: the time is taken before the filter runs.
	settle = int64(time.Second)
	// mostEras bounds what a ring that is not read, because the disk is stalled, remembers of earlier filters.
	mostEras = 64
)

// eras are the policies of a ring, the oldest first: each packet is judged by the one that was in force at its time,
// so that what is in the ring when the policy changes is kept as it was asked for then. There is at least one. They are
// never changed, only replaced.
type eras []era

// era is one policy, from a time on, ns since 1970; the first one is also for what is older.
type era struct {
	from   int64
	exact  *filter.Program
	also   *filter.Program // while a filter is being replaced: kept is what either keeps; nil otherwise
	judged bool            // the process judges each packet, because the kernel keeps more
}

// needed returns e if packets from ns on must be judged in the process, else nil.
func (e eras) needed(ns int64) eras {
	if last := &e[len(e)-1]; last.judged || last.from != 0 && ns < last.from+settle {
		return e
	}
	return nil
}

// at returns the era of a time.
func (e eras) at(ns int64) *era {
	for i := len(e) - 1; i > 0; i-- {
		if e[i].from <= ns {
			return &e[i]
		}
	}
	return &e[0]
}

// keeps returns how many bytes of a packet are kept, 0 for none.
func (e *era) keeps(data []byte, m filter.Meta) int {
	n := e.exact.Run(data, m)
	if e.also != nil {
		n = max(n, e.also.Run(data, m))
	}
	return int(min(n, math.MaxInt32))
}

// forget leaves only the policy in force: times from before cannot be compared once the wall clock was set.
func (e eras) forget() eras {
	last := e[len(e)-1]
	last.from = 0
	return eras{last}
}

// then returns e with one more, without those that ended before covered, ns since 1970.
func (e eras) then(next era, covered int64) eras {
	for len(e) > 1 && (e[1].from <= covered || len(e) >= mostEras) {
		e = e[1:]
	}
	return append(e[:len(e):len(e)], next)
}

// change replaces the ring's policy. The reader and the controller may do so at once.
func (r *reader) change(f func(eras) eras) {
	for {
		old := r.policy.Load()
		next := f(*old)
		if r.policy.CompareAndSwap(old, &next) {
			return
		}
	}
}

// enter begins a new era now, unless its policy is in force already.
func (r *reader) enter(next era) {
	r.change(func(e eras) eras {
		next.from = time.Now().UnixNano() // not before e was loaded: the wall clock may be set between
		if last := e[len(e)-1]; last.exact == next.exact && last.also == next.also && last.judged == next.judged {
			return e
		}
		return e.then(next, r.counts.covered.Load())
	})
}
