package dhcp

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func message(kind byte) []byte {
	b := make([]byte, headerSize)
	b[0], b[1], b[2] = 1, 1, 6
	copy(b[4:], "xid!")
	copy(b[28:], "\x02\x00\x00\x00\x00\x07")
	binary.BigEndian.PutUint32(b[headerSize-4:], magic)
	return append(b, 0, optionType, 1, kind, optionEnd)
}

var lease = Lease{Addr: netip.MustParsePrefix("10.20.10.10/24"), Gateway: netip.MustParseAddr("10.20.10.1"), Time: time.Hour}

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name    string
		message []byte
		want    byte
	}{
		{"discover", message(discover), offer},
		{"request", message(request), ack},
		{"release", message(7), 0},
		{"of a server", append([]byte{2}, message(discover)[1:]...), 0},
		{"cut", message(discover)[:headerSize-1], 0},
		{"without options", message(discover)[:headerSize], 0},
		{"cut option", message(discover)[:headerSize+3], 0},
	} {
		answer := lease.answer(c.message)
		if answer == nil {
			if c.want != 0 {
				t.Errorf("%s: no answer", c.name)
			}
			continue
		}
		if kind(answer) != c.want || string(answer[4:8]) != "xid!" || netip.AddrFrom4([4]byte(answer[16:])) != lease.Addr.Addr() {
			t.Errorf("%s: answered by type %d, % x", c.name, kind(answer), answer)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(message(discover))
	f.Add(message(request))
	f.Fuzz(func(t *testing.T, b []byte) {
		if answer := lease.answer(b); answer != nil && (kind(answer) != offer && kind(answer) != ack || len(answer) < headerSize) {
			t.Errorf("answered by % x", answer)
		}
	})
}
