package capture

import (
	"bytes"
	"testing"

	"github.com/ringside/ringside/pcapng"
	"golang.org/x/sys/unix"
)

func TestSpecialLinkHeaders(t *testing.T) {
	macs := []byte("\x01\x02\x03\x04\x05\x06\x11\x12\x13\x14\x15\x16")
	ether := append(append([]byte{}, macs...), 0x08, 0x00, 'I', 'P', '!', '!')
	ppp := []byte{0xff, 0x03, 0x00, 0x21, 'I', 'P', '!', '!'}
	tests := []struct {
		name     string
		entry    entry
		header   func(h *header)
		frame    []byte
		original uint32
		want     []byte
		length   uint32
	}{
		{"tag put back", entry{ethernet: true}, func(h *header) {
			native.PutUint32(h[pktStatus:], unix.TP_STATUS_VLAN_VALID)
			native.PutUint32(h[pktTCI:], 0x2064)
		}, ether, 18, append(append([]byte{}, macs...), 0x81, 0x00, 0x20, 0x64, 0x08, 0x00, 'I', 'P', '!', '!'), 22},
		{"outer tag of QinQ", entry{ethernet: true}, func(h *header) {
			native.PutUint32(h[pktStatus:], unix.TP_STATUS_VLAN_VALID|unix.TP_STATUS_VLAN_TPID_VALID)
			native.PutUint32(h[pktTCI:], 7)
			native.PutUint16(h[pktTPID:], 0x88a8)
		}, ether, 1400, append(append([]byte{}, macs...), 0x88, 0xa8, 0, 7, 0x08, 0x00, 'I', 'P', '!', '!'), 1404},
		{"cut before the type", entry{ethernet: true}, func(h *header) {
			native.PutUint32(h[pktStatus:], unix.TP_STATUS_VLAN_VALID)
		}, ether[:10], 60, ether[:10], 60},
		{"no link header", entry{}, func(h *header) {
			native.PutUint16(h[pktMac:], 82)
			native.PutUint16(h[pktNet:], 82)
			copy(h[pktProtocol:], []byte{0x86, 0xdd})
		}, []byte("IPv6"), 4, append(make([]byte, 12), 0x86, 0xdd, 'I', 'P', 'v', '6'), 18},
		{"another link header", entry{}, func(h *header) {
			native.PutUint16(h[pktMac:], 80)
			native.PutUint16(h[pktNet:], 84)
			copy(h[pktProtocol:], []byte{8, 0})
		}, ppp, 8, append(make([]byte, 12), 8, 0, 'I', 'P', '!', '!'), 18},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h header
			tt.header(&h)
			p := packet{data: tt.frame, original: tt.original}
			if !new(reader).special(&p, &tt.entry, nil, &h) {
				t.Fatal("not kept")
			}
			if got := append(bytes.Clone(p.head), p.data...); !bytes.Equal(got, tt.want) || p.original != tt.length {
				t.Errorf("got  % x of %d\nwant % x of %d", got, p.original, tt.want, tt.length)
			}
		})
	}
}

func TestEntryKeeps(t *testing.T) {
	tests := []struct {
		name  string
		entry entry
		ns    int64
		flags uint32
		want  bool
	}{
		{"plain", entry{}, 5, pcapng.Inbound, true},
		{"left out by policy", entry{drop: true}, 5, pcapng.Inbound, false},
		{"loopback, first sight", entry{loopback: true}, 5, pcapng.Outbound, false},
		{"loopback, second sight", entry{loopback: true}, 5, pcapng.Inbound, true},
		{"before its own ring", entry{until: 6}, 5, pcapng.Inbound, true},
		{"since its own ring", entry{until: 5}, 5, pcapng.Inbound, false},
	}
	for _, tt := range tests {
		if got := tt.entry.keeps(&packet{ns: tt.ns, flags: tt.flags}); got != tt.want {
			t.Errorf("%s: kept %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A tag on a frame of the greatest length must not make a packet that libpcap refuses.
func TestTagWithinSnapLen(t *testing.T) {
	var h header
	native.PutUint32(h[pktStatus:], unix.TP_STATUS_VLAN_VALID)
	p := packet{data: make([]byte, pcapng.SnapLen), original: pcapng.SnapLen}
	new(reader).special(&p, &entry{ethernet: true}, nil, &h)
	if got := len(p.head) + len(p.data); got != pcapng.SnapLen || p.original != pcapng.SnapLen+4 {
		t.Errorf("stored %d of %d, want %d of %d", got, p.original, pcapng.SnapLen, pcapng.SnapLen+4)
	}
}
