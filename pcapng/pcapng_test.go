package pcapng

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// blocks walks b and returns copies of its blocks and the error that ended the walk.
func blocks(b io.Reader) (list []Block, end int64, err error) {
	w := NewWalker(b)
	for {
		blk, err := w.Next()
		if err != nil {
			return list, w.Offset(), err
		}
		blk.Raw = bytes.Clone(blk.Raw)
		blk.Body = blk.Raw[8 : len(blk.Raw)-4]
		list = append(list, blk)
	}
}

func TestPacketsComeBackAsTheyWere(t *testing.T) {
	var out []byte
	type sent struct {
		id, original, flags uint32
		ns                  int64
		data                []byte
	}
	var want []sent
	for _, size := range []int{0, 1, 2, 3, 4, 60, 1514, 65535, SnapLen} {
		for _, head := range []int{0, 4, 14} {
			if head > size {
				continue
			}
			data := bytes.Repeat([]byte{0xA5, byte(size), 0x5A}, size/3+1)[:size]
			p := sent{uint32(size % 7), uint32(size + 9), Outbound, 1795375200_123456789 + int64(size), data}
			b := bytes.Repeat([]byte{0xEE}, PacketSize(size)) // what was there before must not show
			n := PutPacket(b, p.id, p.ns, p.original, p.flags, data[:head], data[head:])
			if n != len(b) {
				t.Fatalf("%d bytes written for a packet of %d, PacketSize says %d", n, size, len(b))
			}
			if pad := b[28+size : 28+(size+3)&^3]; !bytes.Equal(pad, make([]byte, len(pad))) {
				t.Errorf("padding of a packet of %d bytes is %v", size, pad)
			}
			out, want = append(out, b...), append(want, p)
		}
	}
	list, end, err := blocks(bytes.NewReader(out))
	if err != io.EOF || end != int64(len(out)) || len(list) != len(want) {
		t.Fatalf("%d blocks to %d, %v; want %d to %d", len(list), end, err, len(want), len(out))
	}
	for i, b := range list {
		p, err := b.Packet()
		if err != nil {
			t.Fatal(err)
		}
		if got := (sent{p.ID, p.Original, p.Flags, p.NS, p.Data}); !reflect.DeepEqual(got, want[i]) {
			t.Errorf("packet %d of %d bytes differs: %d %d %d %d, want %d %d %d %d", i, len(want[i].data),
				got.id, got.original, got.flags, got.ns, want[i].id, want[i].original, want[i].flags, want[i].ns)
		}
	}
	list[0].SetInterface(99)
	if p, _ := list[0].Packet(); p.ID != 99 {
		t.Errorf("interface %d after SetInterface(99)", p.ID)
	}
}

func TestInterfaces(t *testing.T) {
	for _, i := range []Interface{
		{Name: "eth0"},
		{Name: "veth1a2b", Description: "pod default/web", Filter: "tcp port 5432"},
		{},
	} {
		b, err := Parse(AppendInterface(nil, i))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.Interface(); err != nil || got != i {
			t.Errorf("%+v comes back as %+v, %v", i, got, err)
		}
	}
	good := AppendInterface(nil, Interface{Name: "eth0"})
	for name, change := range map[string]func([]byte){
		"link type":       func(b []byte) { b[8] = 101 },
		"snapshot length": func(b []byte) { b[12] = 1 },
		"resolution":      func(b []byte) { b[len(b)-12] = 6 },
	} {
		b := bytes.Clone(good)
		change(b)
		blk, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if i, err := blk.Interface(); err == nil {
			t.Errorf("another %s is accepted: %+v", name, i)
		}
	}
}

func TestNotesAndSummaries(t *testing.T) {
	n := Note{Kind: NoteDropped, From: 1, To: 2, Ring: "shared", Interface: "veth1", Packets: 3, Bytes: 4, Frozen: 5, Step: -6, Text: "ü"}
	b, err := Parse(AppendNote(nil, n))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Note(); err != nil || got != n {
		t.Errorf("%+v comes back as %+v, %v", n, got, err)
	}
	if _, err := b.Summary(); err != ErrNotOurs {
		t.Errorf("a note as summary: %v", err)
	}
	s := Summary{Ring: "eth0", From: 1, To: 2, First: 3, Last: 4, Packets: 5, Dropped: 6, CutPolicy: 7, CutLimit: 8, Counts: []Count{{9, 10}}}
	for before := range 9 { // whatever comes before it, it ends with the page
		dst := AppendNote(nil, Note{Kind: NoteGap, Text: strings.Repeat("x", 1000*before)})
		at := len(dst)
		dst = AppendSummary(dst, s)
		if len(dst)%PageSize != 0 || len(dst)-at > PageSize+512 {
			t.Errorf("summary from %d to %d", at, len(dst))
		}
		if b, err = Parse(dst[at:]); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Summary(); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%+v comes back as %+v, %v", s, got, err)
		}
	}
	foreign := beginBlock(nil, TypeLocal)
	foreign = endBlock(append(foreign, "somebody else's"...), 0)
	if _, err := (Block{Type: TypeLocal, Body: foreign[8 : len(foreign)-4]}).Note(); err != ErrNotOurs {
		t.Errorf("a foreign block as note: %v", err)
	}
}

func TestChunk(t *testing.T) {
	table := &Table{}
	table.Add(Interface{Name: "eth0"})
	table.Add(Interface{Name: "eth1"})
	c := NewChunk(make([]byte, ChunkSize))
	for round := range 2 { // the second as the first: nothing is left over
		c.Reset(table, "shared", 100)
		data := make([]byte, 100)
		c.Packet(1, 300, 100, Inbound, nil, data)
		c.Packet(0, 200, 100, Inbound, nil, data) // earlier: rings are not in order
		c.Packet(1, 400, 100, Inbound, nil, data)
		if !c.Note(Note{Kind: NoteDropped, Packets: 7}) || len(c.Notes) != 1 {
			t.Fatal("a note does not fit an empty chunk")
		}
		c.Summary.To = 500
		b := c.Close(func(n Count) (uint64, uint64) { return n.Packets * 10, 7 })
		want := Summary{Ring: "shared", From: 100, To: 500, First: 200, Last: 400, Packets: 3, Counts: []Count{{0, 1}, {1, 2}}}
		if len(b)%PageSize != 0 || !reflect.DeepEqual(c.Summary, want) {
			t.Fatalf("round %d: %d bytes, summary %+v; want %+v", round, len(b), c.Summary, want)
		}
		list, _, err := blocks(bytes.NewReader(b))
		var types []uint32
		for _, blk := range list {
			types = append(types, blk.Type)
		}
		if wantTypes := []uint32{TypePacket, TypePacket, TypePacket, TypeLocal, TypeStatistics, TypeStatistics, TypeLocal}; err != io.EOF || !slices.Equal(types, wantTypes) {
			t.Fatalf("blocks %x, %v; want %x", types, err, wantTypes)
		}
		if got, err := list[6].Summary(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("stored summary %+v, %v; want %+v", got, err, want)
		}
		again, _, err := blocks(bytes.NewReader(c.CloseAgain(int(list[4].Offset)))) // the same but for the statistics
		if err != io.EOF || len(again) != 5 || !bytes.Equal(again[3].Raw, list[3].Raw) || again[4].Type != TypeLocal {
			t.Errorf("closed again: %d blocks, %v", len(again), err)
		}
	}
}

// A full chunk of as many interfaces as there can be still closes within its buffer: it would not be page-aligned
// elsewhere, and a direct write would be refused.
func TestFullChunkClosesInPlace(t *testing.T) {
	buf := make([]byte, ChunkSize)
	c := NewChunk(buf)
	c.Reset(&Table{}, strings.Repeat("r", 64), 1795375200_000000000)
	data := make([]byte, 1400)
	for id := uint32(0); c.Room() >= PacketSize(len(data)); id++ {
		c.Packet(100_000+id%700, 1795375200_000000000, 1400, Inbound, nil, data)
	}
	for c.Note(Note{Kind: NoteInterface, Text: "x"}) {
	}
	c.Summary.To = 1795375201_000000000
	b := c.Close(func(Count) (uint64, uint64) { return 1 << 60, 1 << 60 })
	if &b[0] != &buf[0] || len(b) > ChunkSize || len(b)%PageSize != 0 {
		t.Errorf("closed to %d bytes, in place %v", len(b), &b[0] == &buf[0])
	}
	if b = c.CloseAgain(ChunkSize - chunkReserve); &b[0] != &buf[0] || len(b) > ChunkSize {
		t.Errorf("closed again to %d bytes, in place %v", len(b), &b[0] == &buf[0])
	}
}

// What ends a walk, and how far it was good. The stream is three blocks of 144 bytes.
func TestWalkStopsAtDamage(t *testing.T) {
	var good []byte
	for range 3 {
		b := make([]byte, PacketSize(100))
		PutPacket(b, 0, 1, 100, Inbound, nil, make([]byte, 100))
		good = append(good, b...)
	}
	const size = 144
	tests := []struct {
		name   string
		damage func(b []byte) []byte
		end    int64
		err    error
	}{
		{"whole", func(b []byte) []byte { return b }, 3 * size, io.EOF},
		{"empty", func(b []byte) []byte { return nil }, 0, io.EOF},
		{"cut in the head", func(b []byte) []byte { return b[:2*size+7] }, 2 * size, ErrTorn},
		{"cut in the body", func(b []byte) []byte { return b[:3*size-1] }, 2 * size, ErrTorn},
		{"type 0", func(b []byte) []byte { clear(b[size : size+4]); return b }, size, ErrTorn},
		{"length 0", func(b []byte) []byte { clear(b[size+4 : size+8]); return b }, size, ErrTorn},
		{"length below the least", func(b []byte) []byte { b[size+4] = 8; return b }, size, ErrTorn},
		{"length not a multiple of 4", func(b []byte) []byte { b[size+4]++; return b }, size, ErrTorn},
		{"length beyond the end", func(b []byte) []byte { b[size+5] = 0x10; return b }, size, ErrTorn},
		{"length beyond everything", func(b []byte) []byte { b[size+7] = 0x7f; return b }, size, ErrTorn},
		{"lengths differ", func(b []byte) []byte { b[2*size-4] ^= 4; return b }, size, ErrTorn},
		{"zeros after it", func(b []byte) []byte { return append(b, make([]byte, 4096)...) }, 3 * size, ErrTorn},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := test.damage(bytes.Clone(good))
			for _, r := range []io.Reader{bytes.NewReader(b), iotest.OneByteReader(bytes.NewReader(b)), iotest.DataErrReader(bytes.NewReader(b))} {
				if _, end, err := blocks(r); !errors.Is(err, test.err) || end != test.end {
					t.Errorf("the walk ends at %d with %v, want %d and %v", end, err, test.end, test.err)
				}
			}
		})
	}
	if _, end, err := blocks(io.MultiReader(bytes.NewReader(good[:200]), iotest.ErrReader(io.ErrNoProgress))); err != io.ErrNoProgress || end != size {
		t.Errorf("a failing reader ends the walk at %d with %v", end, err)
	}
}

// Other tools read what is written here: names, comments, times to the nanosecond, directions.
func TestWiresharkReadsIt(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed")
	}
	out := AppendSection(nil, "ringside", "a comment")
	out = AppendNote(out, Note{Kind: NoteGap, Text: "skipped by others"})
	out = AppendInterface(out, Interface{Name: "eth0", Description: "uplink", Filter: "tcp"})
	b := make([]byte, PacketSize(60))
	PutPacket(b, 0, 1795375200_123456789, 1514, Outbound, make([]byte, 14), make([]byte, 46))
	out = append(out, b...)
	out = AppendStatistics(out, 0, 1795375200_200000000, 10, 9)
	out = AppendSummary(out[:len(out):len(out)], Summary{Ring: "eth0"})
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tshark", "-r", path, "-T", "fields", "-E", "separator=,", "-e", "frame.time_epoch", "-e", "frame.interface_name",
		"-e", "frame.len", "-e", "frame.cap_len", "-e", "frame.packet_flags_direction")
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(string(text)), "1795375200.123456789,eth0,1514,60,"; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "2") {
		t.Errorf("tshark reads %q, want %q and direction 2", got, want)
	}
}
