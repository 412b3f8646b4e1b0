package series

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

const (
	second = int64(time.Second)
	ms     = int64(time.Millisecond)
)

// start is a multiple of every step that the tests reach.
var start = floor(time.Date(2026, 11, 23, 2, 14, 0, 0, time.UTC).UnixNano(), firstStep<<12)

func number(n uint16) string { return strconv.Itoa(int(n)) }

func TestCounts(t *testing.T) {
	table := NewTable()
	at := start + 10*ms
	for k, n := range map[Kind]int{Refused: 2, Unanswered: 3, Reset: 4, Retransmitted: 5, ZeroWindow: 6, TimeOut: 7} {
		for range n {
			table.Add(7, k, at, 0)
		}
	}
	table.Add(7, Connect, at, 3*ms)
	table.Add(7, Connect, at+firstStep, 2*ms)
	table.Add(7, Bytes, at, 100)
	table.Add(7, Bytes, at+3*firstStep, 0)

	list := table.Series(number)
	if len(list) != 1 || list[0].Service != "7" || list[0].Packets != 2 || list[0].StepNS != firstStep || !list[0].From.Equal(time.Unix(0, start)) {
		t.Fatalf("%+v", list)
	}
	first := Bucket{Connects: 1, ConnectMax: 3 * ms, Refused: 2, Unanswered: 3, Resets: 4, Retransmitted: 5, ZeroWindows: 6, TimeOuts: 7, Bytes: 100}
	want := []Bucket{first, {Connects: 1, ConnectMax: 2 * ms}, {}, {}}
	same(t, list[0].Buckets, want)
	first.Connects = 2
	same(t, []Bucket{list[0].Total}, []Bucket{first})
}

func same(t *testing.T, got, want []Bucket) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d buckets, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("bucket %d:\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
}

// TestPercentiles holds percentiles against those of the answers themselves.
func TestPercentiles(t *testing.T) {
	for _, test := range []struct {
		name          string
		answers       []int64
		p50, p95, max int64
	}{
		{"one", []int64{5 * ms}, 5 * ms, 5 * ms, 5 * ms},
		{"ten", []int64{1 * ms, 2 * ms, 3 * ms, 4 * ms, 5 * ms, 6 * ms, 7 * ms, 8 * ms, 9 * ms, 20 * second}, 5 * ms, 20 * second, 20 * second},
		{"a hundred", append(repeat(95, 10*ms), repeat(5, second)...), 10 * ms, 10 * ms, second},
		{"ninety-four", append(repeat(94, 10*ms), repeat(6, second)...), 10 * ms, second, second},
		{"very short", []int64{1, 2, 3}, 3, 3, 3}, // all that is said: not above the longest
		{"very long", []int64{200 * second, 100 * second}, 200 * second, 200 * second, 200 * second},
	} {
		table := NewTable()
		for _, a := range test.answers {
			table.Add(0, Answer, start, a)
		}
		for _, got := range []Bucket{table.Series(number)[0].Buckets[0], table.Series(number)[0].Total} {
			if !near(got.P50, test.p50) || !near(got.P95, test.p95) || got.Max != test.max || got.Answers != uint64(len(test.answers)) {
				t.Errorf("%s: %v %v %v, want %v %v %v", test.name, got.P50, got.P95, got.Max, test.p50, test.p95, test.max)
			}
		}
	}
}

// near says whether a percentile is within the eighth that is promised.
func near(got, want int64) bool { return max(got, want)-min(got, want) <= want/8 }

func repeat(n int, v int64) []int64 {
	list := make([]int64, n)
	for i := range list {
		list[i] = v
	}
	return list
}

// TestCells holds every cell against its neighbours: they touch, and the middle is in the middle.
func TestCells(t *testing.T) {
	for v := int64(1 << firstOctave); v < 1<<lastOctave; v += v/64 + 1 {
		c := cell(v)
		if m := middle(c); cell(m) != c || !near(m, v) {
			t.Fatalf("%d ns is in cell %d, whose middle is %d", v, c, m)
		}
	}
	if cell(1<<firstOctave-1) != 0 || cell(1<<firstOctave) != 1 || cell(1<<lastOctave-1) != cells-2 || cell(1<<lastOctave) != cells-1 || cell(-1) != 0 {
		t.Error("the first or the last cell is not where it should be")
	}
}

// TestDoubling counts one answer every 125 ms of an hour: nothing may be lost by doubling, and the step follows.
func TestDoubling(t *testing.T) {
	for _, test := range []struct {
		length  int64
		step    int64
		buckets int
	}{
		{45 * second, 125 * ms, 360},
		{45*second + firstStep, 250 * ms, 181},
		{90 * second, 250 * ms, 360},
		{180 * second, 500 * ms, 360},
		{3600 * second, 16 * second, 225},
	} {
		table := NewTable()
		n := test.length / firstStep
		for i := range n {
			table.Add(3, Answer, start+i*firstStep, 4*ms)
		}
		s := table.Series(number)[0]
		if s.StepNS != test.step || len(s.Buckets) != test.buckets {
			t.Fatalf("%v: step %v, %d buckets", time.Duration(test.length), time.Duration(s.StepNS), len(s.Buckets))
		}
		var sum uint64
		for i, b := range s.Buckets {
			sum += b.Answers
			if want := uint64(min(test.step, test.length-int64(i)*test.step) / firstStep); b.Answers != want {
				t.Fatalf("%v: bucket %d has %d answers, want %d", time.Duration(test.length), i, b.Answers, want)
			}
			if !near(b.P50, 4*ms) || b.Max != 4*ms {
				t.Fatalf("%v: bucket %d: %+v", time.Duration(test.length), i, b)
			}
		}
		if sum != uint64(n) || s.Total.Answers != uint64(n) {
			t.Errorf("%v: %d answers, total %d, want %d", time.Duration(test.length), sum, s.Total.Answers, n)
		}
	}
}

// TestAnyOrder adds the same in two orders: the order of time, and none at all. What is counted must be the same.
func TestAnyOrder(t *testing.T) {
	for _, length := range []int64{20 * second, 100 * second, 5000 * second} {
		inOrder, shuffled := NewTable(), NewTable()
		order := rand.New(rand.NewPCG(1, 2)).Perm(2000)
		for i := range order {
			add(inOrder, i, length)
		}
		for _, i := range order {
			add(shuffled, i, length)
		}
		a, b := inOrder.Series(number), shuffled.Series(number)
		byName := map[string]Series{}
		for _, s := range b {
			byName[s.Service] = s
		}
		for _, s := range a {
			o := byName[s.Service]
			if s.StepNS != o.StepNS || !s.From.Equal(o.From) || s.Packets != o.Packets || s.Total != o.Total {
				t.Fatalf("%v: service %s: %v %v, %v %v", time.Duration(length), s.Service, s.From, s.StepNS, o.From, o.StepNS)
			}
			same(t, o.Buckets, s.Buckets)
		}
	}
}

// add counts the i-th of 2000 things, evenly over a length of time that does not begin at a multiple of a step.
func add(t *Table, i int, length int64) {
	k := Kind(i % int(Bytes+1))
	t.Add(uint16(i%3), k, start+37*firstStep+int64(i)*length/2000, int64(i)*ms)
}

// TestFarApart has times that no recording has beside each other, and some that no clock shows.
func TestFarApart(t *testing.T) {
	table := NewTable()
	times := []int64{start, 0, start + 1, 1 << 62, -5, -1 << 63, 1<<63 - 1, start}
	for _, at := range times {
		table.Add(0, Reset, at, 0)
	}
	s := table.Series(number)[0]
	if len(s.Buckets) > maxBuckets || s.Total.Resets != uint64(len(times)) {
		t.Errorf("%d buckets, %d resets", len(s.Buckets), s.Total.Resets)
	}
}

func TestServices(t *testing.T) {
	table := NewTable()
	for n := range 1000 {
		table.Add(uint16(65000-n), Bytes, start+int64(n)*ms, 10)
	}
	list := table.Series(number)
	if len(list) != maxServices+1 {
		t.Fatalf("%d series", len(list))
	}
	last := list[maxServices]
	if list[0].Service != "65000" || last.Service != Others || last.Packets != 1000-maxServices || last.Total.Bytes != 10*last.Packets {
		t.Errorf("first %s; last %s of %d packets, %d bytes", list[0].Service, last.Service, last.Packets, last.Total.Bytes)
	}
	for _, s := range list {
		if !s.From.Equal(list[0].From) || len(s.Buckets) != len(list[0].Buckets) {
			t.Errorf("service %s begins at %v with %d buckets", s.Service, s.From, len(s.Buckets))
		}
	}
}

func TestEmpty(t *testing.T) {
	if list := NewTable().Series(number); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestAllocations(t *testing.T) {
	table := NewTable()
	for n := range uint16(8) {
		table.Add(n, Bytes, start, 0)
	}
	at := start
	if n := testing.AllocsPerRun(5000, func() {
		at += firstStep / 3
		table.Add(uint16(at&7), Answer, at, at&(1<<30-1))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, test := range []struct {
		name string
		kind Kind
	}{{"packet", Bytes}, {"answer", Answer}} {
		b.Run(test.name, func(b *testing.B) {
			table := NewTable()
			b.ReportAllocs()
			at := start
			for i := 0; b.Loop(); i++ {
				at += 1000
				table.Add(uint16(i&15), test.kind, at, int64(i&0xffff)<<10)
			}
		})
	}
}
