package readback

import (
	"fmt"
	"slices"

	"github.com/ringside/ringside/test/loadgen"
)

// Source is a plan and how its packets must have been recorded.
type Source struct {
	Plan       loadgen.Plan
	Interfaces []string // any of these names
	Outbound   bool
	Payload    int // bytes stored after the headers, negative: all
}

// Ledger counts packets read against the plans they come from. It is not safe for concurrent use.
type Ledger struct {
	Packets  int      // read, all together
	Foreign  int      // of no plan
	Wrong    int      // not as the plan says
	Problems []string // the first of those, in words
	accounts map[uint32]*account
}

type account struct {
	Source
	times []uint8 // how often packet n was read
}

// maxProblems is how many are kept in words.
const maxProblems = 10

// NewLedger returns a ledger that expects these sources.
func NewLedger(sources ...Source) *Ledger {
	l := &Ledger{accounts: make(map[uint32]*account)}
	for _, s := range sources {
		l.accounts[s.Plan.ID] = &account{Source: s}
	}
	return l
}

// Add takes a packet into account.
func (l *Ledger) Add(p Packet) {
	l.Packets++
	id, n := loadgen.Split(p.Number)
	a := l.accounts[id]
	if a == nil || p.Number == 0 {
		l.Foreign++
		return
	}
	if n >= len(a.times) {
		a.times = slices.Grow(a.times, n+1-len(a.times))[:n+1]
	}
	a.times[n] = min(a.times[n]+1, 255)
	if problem := a.judge(p, n); problem != "" {
		l.Wrong++
		if len(l.Problems) < maxProblems {
			l.Problems = append(l.Problems, fmt.Sprintf("plan %d packet %d: %s", id, n, problem))
		}
	}
}

// judge says in what a packet differs from its plan.
func (a *account) judge(p Packet, n int) string {
	want := a.Plan.Shape(n)
	captured := want.Size
	if a.Payload >= 0 {
		captured = min(captured, want.Headers()+a.Payload)
	}
	switch {
	case !slices.Contains(a.Interfaces, p.Interface):
		return fmt.Sprintf("on interface %q, sent on %q", p.Interface, a.Interfaces)
	case p.Length != want.Size:
		return fmt.Sprintf("length %d, sent %d", p.Length, want.Size)
	case p.Captured != captured:
		return fmt.Sprintf("%d bytes stored of %d, want %d", p.Captured, p.Length, captured)
	case !slices.Equal(p.Tags, want.Tags):
		return fmt.Sprintf("VLAN tags %v, sent %v", p.Tags, want.Tags)
	case p.V6 != want.V6:
		return fmt.Sprintf("IPv6 %v, sent %v", p.V6, want.V6)
	case p.Outbound != a.Outbound:
		return fmt.Sprintf("outbound %v, sent %v", p.Outbound, a.Outbound)
	}
	return ""
}

// Seen is how many different packets of a plan were read.
func (l *Ledger) Seen(id uint32) (n int) {
	for _, times := range l.accounts[id].times {
		if times > 0 {
			n++
		}
	}
	return n
}

// Repeated is how many packets, of all plans, were read more than once.
func (l *Ledger) Repeated() (n int) {
	for _, a := range l.accounts {
		for _, times := range a.times {
			if times > 1 {
				n++
			}
		}
	}
	return n
}

// Has says whether packet n of a plan was read.
func (l *Ledger) Has(id uint32, n int) bool {
	times := l.accounts[id].times
	return n < len(times) && times[n] > 0
}

// Range is packets First to Last of a plan.
type Range struct{ First, Last int }

// Missing returns which of a plan's first sent packets were not read.
func (l *Ledger) Missing(id uint32, sent int) (missing []Range) {
	for n := range sent {
		if l.Has(id, n) {
			continue
		}
		if k := len(missing); k > 0 && missing[k-1].Last == n-1 {
			missing[k-1].Last = n
		} else {
			missing = append(missing, Range{n, n})
		}
	}
	return missing
}
