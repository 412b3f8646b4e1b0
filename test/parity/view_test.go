package parity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/sequence"
	"github.com/ringside/ringside/pcapng"
)

// view is the frames of one interface, in the order of the capture.
type view struct {
	name   string
	frames []record
}

type record struct {
	ns       int64
	original uint32
	data     []byte
}

// classicHeader begins a pcap file of Ethernet frames with nanoseconds, little-endian.
var classicHeader = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(
	[]byte{0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 262144), 1)

// shared reads a capture of detect/testdata, one view an interface; those without a frame are left out.
func shared(t *testing.T, path string) []*view {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := zstd.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	views := make(map[uint32]*view)
	for walk := pcapng.NewWalker(plain); ; {
		block, err := walk.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p, err := block.Packet()
		if err != nil {
			continue // a block of another kind
		}
		v := views[p.ID]
		if v == nil {
			v = &view{name: fmt.Sprintf("%s#%d", filepath.Base(path), p.ID)}
			views[p.ID] = v
		}
		v.frames = append(v.frames, record{p.NS, p.Original, bytes.Clone(p.Data)})
	}
	var all []*view
	for _, v := range views {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b *view) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	return all
}

// classic reads a pcap file that tcpdump wrote here, with nanoseconds.
func classic(t *testing.T, path string) *view {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v := &view{name: filepath.Base(path)}
	if len(b) == 0 {
		return v // tcpdump has not begun
	}
	if len(b) < len(classicHeader) || !bytes.Equal(b[:4], classicHeader[:4]) {
		t.Fatalf("%s is no pcap file with nanoseconds of this machine: % x", path, b[:min(4, len(b))])
	}
	for b = b[len(classicHeader):]; len(b) >= 16; {
		le := binary.LittleEndian
		n := int(le.Uint32(b[8:]))
		if len(b) < 16+n {
			break // it is still being written
		}
		v.frames = append(v.frames, record{int64(le.Uint32(b))*1e9 + int64(le.Uint32(b[4:])), le.Uint32(b[12:]), b[16 : 16+n]})
		b = b[16+n:]
	}
	return v
}

// write makes a pcap file of the view, of which tshark sees nothing else.
func (v *view) write(t *testing.T) string {
	t.Helper()
	out := slices.Clone(classicHeader)
	for _, f := range v.frames {
		for _, n := range []uint32{uint32(f.ns / 1e9), uint32(f.ns % 1e9), uint32(len(f.data)), f.original} {
			out = binary.LittleEndian.AppendUint32(out, n)
		}
		out = append(out, f.data...)
	}
	path := filepath.Join(t.TempDir(), "view.pcap")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// judged is what is said of a frame; of one that is no TCP segment, tcp is false.
type judged struct {
	tcp    bool
	flags  sequence.Flags
	packet frame.Packet
}

// ours is what detect/sequence says of every frame.
func (v *view) ours() []judged {
	type pair [2]frame.Endpoint
	states := make(map[pair]*sequence.State)
	all := make([]judged, len(v.frames))
	for i, f := range v.frames {
		p := &all[i].packet
		p.Decode(frame.Ethernet, f.data, int(f.original))
		p.Time, p.Number = f.ns, uint64(i+1)
		if p.Protocol != frame.TCP || p.Fragment {
			continue
		}
		key, from := pair{p.Src, p.Dst}, 0
		if bytes.Compare(p.Src.Addr[:], p.Dst.Addr[:]) > 0 || p.Src.Addr == p.Dst.Addr && p.Src.Port > p.Dst.Port {
			key, from = pair{p.Dst, p.Src}, 1
		}
		s := states[key]
		if s == nil {
			s = new(sequence.State)
			states[key] = s
		}
		all[i].tcp = true
		all[i].flags = s.Next(from, p)
	}
	return all
}
