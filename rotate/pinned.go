package rotate

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// bound is a segment that pins hold.
type bound struct {
	pins  int
	bytes int64
}

// bind counts that p holds a segment, of so many bytes by now. The caller holds mu.
func (s *Spool) bind(p *pin, segment string, bytes int64) {
	b := s.bound[segment]
	if b == nil {
		b = &bound{}
		s.bound[segment] = b
	}
	if _, ok := p.links[segment]; !ok {
		b.pins++
	}
	p.links[segment] = bytes
	s.boundBytes += bytes - b.bytes
	b.bytes = bytes
}

// unbind counts that p holds nothing any more. The caller holds mu.
func (s *Spool) unbind(p *pin) {
	for segment := range p.links {
		b := s.bound[segment]
		if b.pins--; b.pins == 0 {
			s.boundBytes -= b.bytes
			delete(s.bound, segment)
		}
	}
}

// isPinned says whether a pin holds the segment. The caller holds mu.
func (s *Spool) isPinned(name string) bool { return s.bound[name] != nil }

// pinnedOnly is the bytes of segments that nothing but pins holds. The caller holds mu.
func (s *Spool) pinnedOnly() int64 {
	sum := s.boundBytes
	for _, g := range s.segments {
		if b := s.bound[g.Name]; b != nil {
			sum -= b.bytes
		}
	}
	return sum
}

// PinCost returns the bytes of segments that a pin of [from, to) would hold now and that no pin holds yet. What is
// still to come until to is not in it. It is cheap.
func (s *Spool) PinCost(from, to time.Time) (sum int64) {
	p := pin{from: from.UnixNano(), to: to.UnixNano()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		if !s.isPinned(g.Name) && p.wants(g) {
			sum += g.Bytes
		}
	}
	return sum
}

// PinnedTotal returns the bytes of the segments that pins hold, each counted once, whether the spool has them too or
// not. That of a live one is up to a second old. It is cheap.
func (s *Spool) PinnedTotal() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boundBytes
}

// PinReader returns a reader of what the pin holds at this moment. Of a segment that is still being written it has the
// index from memory, so nothing is read twice; windows end where the disk did at this moment (see Await). It may be
// used until Unpin. It returns ErrNoPin if there is no such pin.
func (s *Spool) PinReader(name string) (*Reader, error) {
	r := &Reader{dir: s.pinDir(name), live: map[string]*index{}}
	if err := s.collect(r, name); err != nil {
		return nil, fmt.Errorf("read pin %s: %w", name, err)
	}
	return openReader(r)
}

// collect gives r what is known in memory, and then links to the pin what it lacks: so whatever is not in memory has an index on
// the disk.
func (s *Spool) collect(r *Reader, name string) error {
	s.files.Lock()
	defer s.files.Unlock()
	s.mu.Lock()
	p := s.pins[name]
	for _, g := range s.segments {
		if g.index != nil {
			x := *g.index
			r.live[g.Name] = &x
		}
	}
	r.waiting = append(slices.Collect(maps.Values(s.losing)), s.notes...)
	s.mu.Unlock()
	if p == nil {
		return ErrNoPin
	}
	if err := s.extendPin(p); err != nil {
		return fmt.Errorf("%w: check that the file system has hard links and space", err)
	}
	return nil
}
