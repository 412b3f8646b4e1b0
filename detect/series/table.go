package series

import "time"

const (
	maxBuckets  = 360 // of a series: 162 KiB
	maxServices = 256
	firstStep   = int64(125 * time.Millisecond)
)

// Others is the name of the series of all services beyond the first 256.
const Others = "others"

// row is what is counted of one service.
type row struct {
	service uint16
	packets uint64
	buckets []bucket // maxBuckets of them
}

// Table is all series of a capture. It is not safe for concurrent use.
type Table struct {
	base int64 // ns since 1970 of bucket 0, a multiple of step
	step int64
	used int // buckets up to the last that has something

	at   int64 // where the bucket of the last call begins
	slot int   // and which it is

	rows  []row
	index []int16 // of rows, by service; -1 for those that were not seen
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{step: firstStep} }

// Add counts something of a service, by its number, at a time in ns since 1970. Times may go back: what is before the first one
// makes room for itself, which takes longer. It allocates nothing but for a new service.
func (t *Table) Add(service uint16, k Kind, at, value int64) {
	if uint64(at-t.at) >= uint64(t.step) || len(t.rows) == 0 {
		t.turn(at)
	}
	var i int16 = -1
	if int(service) < len(t.index) {
		i = t.index[service]
	}
	if i < 0 {
		i = t.admit(service)
	}
	r := &t.rows[i]
	b := &r.buckets[t.slot]
	switch k {
	case Answer:
		b.Answers++
		b.Max = max(b.Max, value)
		b.cells[cell(value)]++
	case Connect:
		b.Connects++
		b.ConnectMax = max(b.ConnectMax, value)
	case Refused:
		b.Refused++
	case Unanswered:
		b.Unanswered++
	case Reset:
		b.Resets++
	case Retransmitted:
		b.Retransmitted++
	case ZeroWindow:
		b.ZeroWindows++
	case TimeOut:
		b.TimeOuts++
	case Bytes:
		r.packets++
		b.Bytes += uint64(value)
	}
}

// turn goes to the bucket of a time. Times that no clock shows (before 1970, after 2116) are taken to be the nearest that one does.
func (t *Table) turn(at int64) {
	at = min(max(at, 0), 1<<62)
	if len(t.rows) == 0 {
		t.base = floor(at, t.step)
	}
	for {
		if at < t.base {
			if n := (t.base - floor(at, t.step)) / t.step; n <= int64(maxBuckets-t.used) {
				t.shift(int(n))
			}
		}
		if at >= t.base && (at-t.base)/t.step < maxBuckets {
			break
		}
		t.double()
	}
	t.slot = int((at - t.base) / t.step)
	t.at = t.base + int64(t.slot)*t.step
	t.used = max(t.used, t.slot+1)
}

// shift makes room for n buckets before the first.
func (t *Table) shift(n int) {
	for _, r := range t.rows {
		copy(r.buckets[n:], r.buckets[:t.used])
		clear(r.buckets[:n])
	}
	t.base -= int64(n) * t.step
	t.used += n
}

// double doubles the step: every two buckets become one.
func (t *Table) double() {
	base := floor(t.base, 2*t.step)
	odd := int((t.base - base) / t.step) // the first bucket is the second half of one
	for _, r := range t.rows {
		for i := range t.used {
			to, b := (i+odd)/2, r.buckets[i]
			r.buckets[i] = bucket{}
			r.buckets[to].merge(&b)
		}
	}
	t.base, t.step, t.used = base, 2*t.step, (t.used+odd+1)/2
}

// admit gives a service a row: its own, or that of the others.
func (t *Table) admit(service uint16) int16 {
	for len(t.index) <= int(service) {
		t.index = append(t.index, -1)
	}
	i := min(len(t.rows), maxServices)
	if i == len(t.rows) {
		t.rows = append(t.rows, row{service: service, buckets: make([]bucket, maxBuckets)})
	}
	t.index[service] = int16(i)
	return int16(i)
}

// floor is the multiple of step at or before a time, which is not negative.
func floor(at, step int64) int64 { return at - at%step }

// Series returns what was counted, services in the order in which they were first seen; name gives their names. The table may be
// used on.
func (t *Table) Series(name func(uint16) string) []Series {
	list := make([]Series, 0, len(t.rows))
	for i := range t.rows {
		r := &t.rows[i]
		s := Series{Service: Others, From: time.Unix(0, t.base).UTC(), StepNS: t.step, Packets: r.packets, Buckets: make([]Bucket, t.used)}
		if i < maxServices {
			s.Service = name(r.service)
		}
		var total bucket
		for k := range s.Buckets {
			s.Buckets[k] = r.buckets[k].finish()
			total.merge(&r.buckets[k])
		}
		s.Total = total.finish()
		list = append(list, s)
	}
	return list
}
