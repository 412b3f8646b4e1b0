package loadgen

import (
	"encoding/binary"
	"testing"
)

func TestNumberIsUniqueAndSplits(t *testing.T) {
	for _, c := range []struct {
		id uint32
		n  int
	}{{0, 1}, {1, 0}, {1<<24 - 1, 1<<40 - 1}, {7, 1 << 32}} {
		if id, n := Split(Plan{ID: c.id}.Number(c.n)); id != c.id || n != c.n {
			t.Errorf("plan %d packet %d comes back as plan %d packet %d", c.id, c.n, id, n)
		}
	}
}

// TestFrameIsWhatItsShapeSays parses frames by hand: tags, family, length fields, ports and number.
func TestFrameIsWhatItsShapeSays(t *testing.T) {
	p := Plan{ID: 0xabcdef, Port: 5432, Sizes: []int{60, 90, 1514, 9000}, V6: true, Tags: true, Flows: 3}
	be := binary.BigEndian
	seen := make(map[[2]int]bool) // by number of tags and family
	for n := range 2000 {
		s := p.Shape(n)
		b := p.Append(nil, n)
		if len(b) != s.Size {
			t.Fatalf("packet %d: %d bytes, its shape says %d", n, len(b), s.Size)
		}
		at := 12
		for _, vid := range s.Tags {
			if got := be.Uint16(b[at+2:]); got != vid || vid == 0 || vid > 4094 {
				t.Fatalf("packet %d: VLAN id %d, want %d", n, got, vid)
			}
			at += 4
		}
		version, length := 4, be.Uint16(b[at+4:])
		header, rest := 20, len(b)-at-2
		if s.V6 {
			version, length, header, rest = 6, be.Uint16(b[at+6:]), 40, len(b)-at-2-40
		}
		if got := int(b[at+2] >> 4); got != version || int(length) != rest {
			t.Fatalf("packet %d: IP version %d and length %d, want %d and %d", n, got, length, version, rest)
		}
		tcp := b[at+2+header:]
		service := be.Uint16(tcp[2:])
		if n&1 == 1 {
			service = be.Uint16(tcp)
		}
		number := uint64(be.Uint32(tcp[8:]))<<32 | uint64(be.Uint32(tcp[4:]))
		if service != p.Port || number != p.Number(n) || at+2+header+20 != s.Headers() {
			t.Fatalf("packet %d: port %d, number %#x, headers %d", n, service, number, s.Headers())
		}
		seen[[2]int{len(s.Tags), version}] = true
	}
	if len(seen) != 6 {
		t.Errorf("2000 packets have the kinds %v, want 0 to 2 tags in both families", seen)
	}
}
