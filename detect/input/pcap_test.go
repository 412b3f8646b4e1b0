package input

import (
	"slices"
	"testing"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/pcapng"
)

// classic is a file of a magic number, with records that are so many bytes longer than usual.
func classic(o order, magic, link uint32, more int, packets ...[]byte) []byte {
	b := o.AppendUint16(o.AppendUint16(o.AppendUint32(nil, magic), 2), 4)
	b = o.AppendUint32(o.AppendUint32(append(b, make([]byte, 8)...), 60), link) // a snapshot length that the packets exceed
	for i, p := range packets {
		b = o.AppendUint32(o.AppendUint32(b, 1_700_000_000), uint32(i+1))
		b = o.AppendUint32(o.AppendUint32(b, uint32(len(p))), 1500)
		b = append(append(b, make([]byte, more)...), p...)
	}
	return b
}

func TestClassic(t *testing.T) {
	for name, o := range map[string]order{"little-endian": little, "big-endian": big} {
		for _, c := range []struct {
			magic uint32
			more  int
			tick  int64
		}{{magicMicro, 0, 1000}, {magicNano, 0, 1}, {magicModified, 8, 1000}} {
			// The highest bits of the link type say that frames end in a checksum of 4 bytes.
			g := readBytes(t, classic(o, c.magic, 0x24000001, c.more, segment(1), segment(2)))
			if len(g.packets) != 2 || len(g.problems) > 0 {
				t.Fatalf("%s, magic %x: %d packets, problems %v", name, c.magic, len(g.packets), g.problems)
			}
			for i, p := range g.packets {
				if p.Number != uint64(i+1) || p.Seq != uint32(i+1) || p.Time != 1_700_000_000e9+int64(i+1)*c.tick || p.Payload != 0 {
					t.Errorf("%s, magic %x: packet %d is %+v", name, c.magic, i+1, p)
				}
			}
			if len(g.interfaces) != 1 || g.interfaces[0] != (Interface{"test", "", frame.Ethernet}) {
				t.Errorf("%s, magic %x: interfaces %v", name, c.magic, g.interfaces)
			}
		}
	}
	long := classic(little, magicMicro, 1, 0, segment(1))
	little.PutUint32(long[pcapHeader+8:], maxRecord+1)
	if g := readBytes(t, long); len(g.packets) != 0 || len(g.problems) != 1 {
		t.Errorf("a packet of 16 MiB: %d packets, problems %v", len(g.packets), g.problems)
	}
}

// TestCooked2 has frames of three interfaces, which are a vantage each.
func TestCooked2(t *testing.T) {
	of := func(index, kind byte) []byte {
		return append([]byte{8, 0, 0, 0, 0, 0, 0, index, 0, 1, kind, 6, 0, 0, 0, 0, 0, 0, 0, 0}, segment(uint32(index))[14:]...)
	}
	want := []Interface{{"test", "any:3", frame.Cooked2}, {"test", "any:7", frame.Cooked2}, {"test", "any", frame.Cooked2}}
	want[2].Name = "" // the file's own, of frames that name none
	g := readBytes(t, classic(little, magicNano, 276, 0, of(3, 4), of(7, 0), of(3, 0), of(0, 0), of(7, 4)))
	if !slices.Equal(g.interfaces, want) {
		t.Errorf("interfaces %v, want %v", g.interfaces, want)
	}
	for i, vantage := range []uint16{0, 1, 0, 2, 1} {
		if p := g.packets[i]; p.Vantage != vantage || p.Out != (i == 0 || i == 4) || p.In == p.Out {
			t.Errorf("packet %d: %+v, want vantage %d", i+1, p, vantage)
		}
	}
}

// TestCutAnywhere cuts files of each kind at every byte: every packet that is there in full is read, and a cut that is not
// between two records is told.
func TestCutAnywhere(t *testing.T) {
	for name, whole := range map[string][]byte{
		"pcap":   classic(little, magicNano, 1, 0, segment(1), segment(2), segment(3)),
		"pcapng": synthetic(3, 1),
	} {
		record := (len(whole) - len(classic(little, magicNano, 1, 0))) / 3
		head := len(classic(little, magicNano, 1, 0))
		if name == "pcapng" {
			record = pcapng.PacketSize(66)
			head = len(whole) - 3*record
		}
		for n := head; n <= len(whole); n++ {
			g := readBytes(t, whole[:n])
			torn := (n-head)%record != 0
			if len(g.packets) != (n-head)/record || torn != (len(g.problems) == 1) {
				t.Fatalf("%s, %d of %d bytes: %d packets, problems %v", name, n, len(whole), len(g.packets), g.problems)
			}
			if g.files[0].Bytes != int64(n) {
				t.Fatalf("%s, %d of %d bytes: the file is said to have %d", name, n, len(whole), g.files[0].Bytes)
			}
		}
	}
}
