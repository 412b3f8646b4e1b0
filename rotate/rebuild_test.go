package rotate

import (
	"bytes"
	"slices"
	"testing"

	"github.com/ringside/ringside/pcapng"
)

// builder makes a segment in memory, as the writer would.
type builder struct {
	*live
	out []byte
	n   uint64
}

func newBuilder(interfaces ...string) *builder {
	return &builder{live: &live{
		seg:   &segment{anchor: anchor{Boot: "boot", Wall: second, Created: 1}},
		table: tables(interfaces...), dropped: map[string]uint64{}, first: map[string]uint32{},
	}}
}

// chunk appends a chunk of ring with packets on interface id, and before it a meta page if one is due. It returns where
// the meta page, if any, and the chunk begin.
func (b *builder) chunk(ring string, id uint32, packets, size int, notes ...pcapng.Note) (meta, chunk int) {
	blocks, interfaces := b.header(nil)
	meta = len(b.out)
	b.out, b.known = append(b.out, blocks...), len(interfaces)
	chunk = len(b.out)
	c := pcapng.NewChunk(make([]byte, pcapng.ChunkSize))
	c.Reset(b.table, ring, second+int64(b.n)*1e6)
	for range packets {
		c.Packet(id, second+int64(b.n)*1e6, uint32(size), pcapng.Inbound, nil, frame(b.n, size))
		b.n++
	}
	for _, n := range notes {
		c.Note(n)
	}
	c.Summary.To = second + int64(b.n)*1e6
	b.out = append(b.out, c.Close(func(n pcapng.Count) (uint64, uint64) { return b.statistics(&c.Summary, n) })...)
	b.size = int64(len(b.out))
	return meta, chunk
}

func (b *builder) rebuild(t *testing.T) (x *index, end int64) {
	t.Helper()
	buf, err := readBuffer()
	must(t, err)
	defer freeBuffer(buf)
	x, end, err = rebuild(&segmentFile{ReaderAt: bytes.NewReader(b.out), buf: buf}, int64(len(b.out)))
	must(t, err)
	must(t, x.check())
	return x, end
}

func names(x *index) (l []string) {
	for _, i := range x.Table {
		l = append(l, i.Name)
	}
	return l
}

// A lost meta page must not give the interfaces of the next one wrong ids.
func TestRebuildWithoutAMetaPage(t *testing.T) {
	b := newBuilder("eth0", "veth1")
	b.chunk("eth0", 0, 10, 100)
	b.table.Add(pcapng.Interface{Name: "veth2"})
	lost, _ := b.chunk("shared", 2, 10, 100)
	b.table.Add(pcapng.Interface{Name: "veth3"})
	b.chunk("shared", 3, 10, 100)
	clear(b.out[lost : lost+pcapng.PageSize])
	x, end := b.rebuild(t)
	if want := []string{"eth0", "veth1", "unknown", "veth3"}; !slices.Equal(names(x), want) {
		t.Errorf("interfaces %v, want %v", names(x), want)
	}
	if x.Packets != 20 || len(x.chunks) != 2 || x.chunks[1].Counts[0] != (pcapng.Count{ID: 3, Packets: 10}) || end != int64(len(b.out)) {
		t.Errorf("chunks %+v to %d, want two, the second on interface 3", x.chunks, end)
	}
	if len(x.Noted) != 1 || x.Noted[0].Kind != pcapng.NoteDamaged || x.Noted[0].From != second+10e6 || x.Noted[0].To != second+20e6 {
		t.Errorf("notes %+v, want damage from 10 to 20 ms", x.Noted)
	}
}

// Blocks of 128 bytes begin at every page. What is read on within a damaged chunk covers only itself.
func TestRebuildWithinAChunk(t *testing.T) {
	b := newBuilder("eth0")
	b.chunk("eth0", 0, 32, 84)
	_, chunk := b.chunk("eth0", 0, 96, 84) // three pages of 32
	b.chunk("eth0", 0, 32, 84)
	b.out[chunk+pcapng.PageSize+4] = 1 // in the second page
	x, _ := b.rebuild(t)
	if x.Packets != 32+32+32+32 {
		t.Errorf("%d packets are left, want all but the second page's 32", x.Packets)
	}
	var l spans
	for _, e := range x.chunks {
		l.add(span{e.From, e.To})
	}
	holes := l.within(span{second, second + 160e6}).holes(span{second, second + 160e6})
	if want := (spans{{second + 63e6, second + 96e6}}); !slices.Equal(holes, want) { // 63: the time of the last packet before
		t.Errorf("holes %v, want %v", holes, want)
	}
}

// A chunk whose writer died belongs to the ring that its interface had before, from where that ring had ended.
func TestRebuildOfATornChunk(t *testing.T) {
	b := newBuilder("eth0", "veth1")
	b.chunk("eth0", 0, 10, 100)
	b.chunk("shared", 1, 10, 100)
	_, torn := b.chunk("shared", 1, 10, 100, pcapng.Note{Kind: pcapng.NoteDropped, Ring: "shared", Packets: 5})
	b.out = b.out[:torn+5*144+20]
	x, end := b.rebuild(t)
	e := x.chunks[len(x.chunks)-1]
	if e.Ring != "shared" || e.Packets != 5 || e.From != second+20e6 || e.To != second+24e6 || end != int64(torn+5*144) {
		t.Errorf("chunk %+v to %d, want 5 packets of shared from 20 to 24 ms", e, end)
	}
	if x.anchor != (anchor{Boot: "boot", Wall: second, Created: 1}) {
		t.Errorf("anchor %+v is not what the segment says", x.anchor)
	}
}

// The index that the writer keeps and the one that is rebuilt from the file are the same.
func TestRebuildEqualsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	r := record(t, config(dir))
	for i := range int64(5) {
		r.chunk("eth0", second+(i+1)*1e9, 50, 300, pcapng.Note{Kind: pcapng.NoteDropped, Ring: "eth0", From: second, To: second + 1, Packets: 2})
		r.chunk("shared", second+(i+1)*1e9, 0, 0)
		r.Note(pcapng.Note{Kind: pcapng.NoteFilter, To: second + i, Ring: "shared", Text: "changed"})
	}
	r.written(250)
	r.stop()
	reader, err := OpenReader(dir)
	must(t, err)
	written, err := reader.Contents("1")
	must(t, err)
	must(t, removeIndex(dir, written.Segment.Name))
	rebuilt, err := reader.Contents("1")
	must(t, err)
	if !slices.EqualFunc(written.Chunks, rebuilt.Chunks, sameEntry) || !slices.Equal(written.Notes, rebuilt.Notes) {
		t.Errorf("written %+v\nrebuilt %+v", written, rebuilt)
	}
	if len(rebuilt.Notes) != 10 || len(rebuilt.Chunks) != 10 {
		t.Errorf("%d notes and %d chunks, want 10 each", len(rebuilt.Notes), len(rebuilt.Chunks))
	}
}

func removeIndex(dir, name string) error { return (osDisk{}).Remove(indexPath(dir, name)) }

func sameEntry(a, b Entry) bool {
	counts := slices.Equal(a.Counts, b.Counts)
	a.Counts, b.Counts = nil, nil
	return counts && a.Offset == b.Offset && a.Length == b.Length && a.Data == b.Data &&
		a.Ring == b.Ring && a.From == b.From && a.To == b.To && a.First == b.First && a.Last == b.Last &&
		a.Packets == b.Packets && a.Dropped == b.Dropped && a.CutPolicy == b.CutPolicy && a.CutLimit == b.CutLimit
}
