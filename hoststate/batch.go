package hoststate

import (
	"fmt"
	"time"

	"github.com/ringside/ringside/rotate"
)

// batch is lines of events, and what they cover.
type batch struct {
	lines    []byte
	events   uint64
	from, to time.Time
	seq      uint64 // of the last
}

// add appends the line of an event.
func (b *batch) add(e *Event, line []byte) {
	b.lines = append(append(b.lines, line...), '\n')
	b.events++
	b.from, b.to, b.seq = earliest(b.from, e.Time), later(b.to, e.Time), e.Seq
}

// lost counts events that could not be kept, until that can be noted.
type lost struct {
	n           uint64
	first, last time.Time
}

func (l *lost) count(now time.Time) {
	if l.n++; l.n == 1 {
		l.first = now
	}
	l.last = now
}

func (l *lost) gap() Gap {
	return Gap{rotate.Span{From: l.first, To: l.last}, fmt.Sprintf("%d events were not kept between %s and %s: the disk did not take them in time",
		l.n, l.first.Format(time.RFC3339Nano), l.last.Format(time.RFC3339Nano))}
}
