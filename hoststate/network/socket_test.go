package network

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// datagram makes a message.
func datagram(h header, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, h.kind)
	b = binary.NativeEndian.AppendUint16(b, h.flags)
	b = binary.NativeEndian.AppendUint32(b, h.seq)
	b = binary.NativeEndian.AppendUint32(b, h.portid)
	b = append(b, body...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

func TestMessagesThatAreNotWhole(t *testing.T) {
	two := append(datagram(header{kind: 1, portid: 7}, []byte("one")), datagram(header{kind: 2}, []byte("second"))...)
	for _, c := range []struct {
		name string
		b    []byte
		want int
	}{
		{"whole", two, 2},
		{"cut in the second body", two[:len(two)-4], 1},
		{"cut in the second header", two[:24], 1},
		{"nothing", nil, 0},
		{"a length of 0", make([]byte, 64), 0},
		{"a length beyond the end", append([]byte{255, 255, 0, 0}, make([]byte, 60)...), 0},
	} {
		n := 0
		for h, body := range messages(c.b) {
			if n++; n == 1 && (h.kind != 1 || h.portid != 7 || string(body) != "one") {
				t.Errorf("%s: the first message is %+v %q", c.name, h, body)
			}
		}
		if n != c.want {
			t.Errorf("%s: %d messages, want %d", c.name, n, c.want)
		}
	}
}
