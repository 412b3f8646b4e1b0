package input

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ringside/ringside/pcapng"
)

// file is a pcapng of packets at times in ns, each on an interface.
func capture(interfaces int, at func(n int) (id uint32, ns int64), packets int) []byte {
	b := pcapng.AppendSection(nil, "test", "")
	for i := range interfaces {
		b = pcapng.AppendInterface(b, pcapng.Interface{Name: string(rune('a' + i))})
	}
	one := make([]byte, 256)
	for n := range packets {
		id, ns := at(n)
		b = append(b, one[:pcapng.PutPacket(one, id, ns, 66, 0, nil, segment(uint32(n)))]...)
	}
	return b
}

const second = int64(time.Second)

// TestInterfacesInOrder has four interfaces whose packets a recorder wrote a second at a time, one interface after another.
func TestInterfacesInOrder(t *testing.T) {
	const perSecond, seconds = 500, 5
	g := readBytes(t, capture(4, func(n int) (uint32, int64) {
		chunk, in := n/perSecond, n%perSecond
		id := chunk % 4
		return uint32(id), int64(chunk/4)*second + int64(in)*second/perSecond + int64(id)
	}, 4*seconds*perSecond))
	if len(g.packets) != 4*seconds*perSecond || !slices.IsSorted(g.times()) {
		t.Errorf("%d packets, in the order of time: %v", len(g.packets), slices.IsSorted(g.times()))
	}
}

// TestShuffled moves packets of several interfaces by up to 9 ms: they come in order, each once.
func TestShuffled(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, interfaces := range []int{1, 3, 40} {
		const packets = 20_000
		g := readBytes(t, capture(interfaces, func(n int) (uint32, int64) {
			return uint32(rnd.IntN(interfaces)), int64(n)*100_000 + rnd.Int64N(9_000_000)
		}, packets))
		numbers := slices.Sorted(slices.Values(g.numbers()))
		if !slices.IsSorted(g.times()) || len(slices.Compact(numbers)) != packets || numbers[packets-1] != packets {
			t.Errorf("seed %d, %d interfaces: %d packets, in the order of time: %v", seed, interfaces, len(numbers), slices.IsSorted(g.times()))
		}
	}
}

// TestFarApart goes back in time by more than is put in order, as a step of the clock does, and backwards all the way:
// no packet is lost, and the packets of an interface are not mixed beyond what is put in order.
func TestFarApart(t *testing.T) {
	g := readBytes(t, capture(2, func(n int) (uint32, int64) {
		ns := int64(n) * second
		if n >= 50 {
			ns -= 1000 * second
		}
		return uint32(n % 2), ns
	}, 100))
	if len(g.packets) != 100 || !slices.IsSorted(g.times()[:50]) || !slices.IsSorted(g.times()[52:]) {
		t.Errorf("%d packets at %v", len(g.packets), g.times())
	}
	g = readBytes(t, capture(1, func(n int) (uint32, int64) { return 0, -int64(n) }, 10_000))
	if numbers := slices.Sorted(slices.Values(g.numbers())); len(slices.Compact(numbers)) != 10_000 {
		t.Errorf("%d packets of a file that goes backwards, want 10,000", len(numbers))
	}
}

// TestMerge merges files by time, and numbers stay those of each file.
func TestMerge(t *testing.T) {
	var sources []Source
	for i := range 5 {
		data := capture(1, func(n int) (uint32, int64) { return 0, int64(n*5+i) * second }, 20)
		sources = append(sources, Source{Name: string(rune('A' + i)), In: bytes.NewReader(data)})
	}
	g := read(t, sources...)
	if len(g.packets) != 100 || !slices.IsSorted(g.times()) {
		t.Fatalf("%d packets at %v", len(g.packets), g.times())
	}
	for n, p := range g.packets {
		if i := g.interfaces[p.Vantage]; i.File != string(rune('A'+n%5)) || p.Number != uint64(n/5+1) {
			t.Errorf("packet %d is number %d of %s", n, p.Number, i.File)
		}
	}
	if len(g.files) != 5 || g.files[4].Name != "E" || g.files[4].Packets != 20 {
		t.Errorf("files %+v", g.files)
	}
}

func zipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// TestPacked reads the same capture plain and compressed, whole and cut, from files whose names say nothing.
func TestPacked(t *testing.T) {
	plain := synthetic(5000, 2)
	sum := sha256.Sum256(plain)
	skippable := append([]byte{0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0}, 1, 2, 3)
	for name, data := range map[string][]byte{
		"plain": plain, "gzip": zipped(t, plain), "zstd": zstandard(t, plain),
		"two gzip members": append(zipped(t, plain[:1000]), zipped(t, plain[1000:])...),
		"two zstd frames":  slices.Concat(skippable, zstandard(t, plain[:1000]), zstandard(t, plain[1000:])),
	} {
		path := filepath.Join(t.TempDir(), "capture")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		g := read(t, Files(path)...)
		want := File{Name: "capture", Packets: 5000, Bytes: int64(len(plain)), SHA256: hex.EncodeToString(sum[:])}
		if len(g.packets) != 5000 || g.files[0] != want {
			t.Errorf("%s: %d packets of %+v, want %+v", name, len(g.packets), g.files[0], want)
		}
		cut := read(t, Source{Name: "cut", In: bytes.NewReader(data[:len(data)*2/3])})
		if len(cut.problems) != 1 || len(cut.packets) >= 5000 || name == "plain" && len(cut.packets) < 3000 {
			t.Errorf("%s, cut: %d packets, problems %v", name, len(cut.packets), cut.problems)
		}
	}
}

// TestDamagedSum gives a damaged file the sum that sha256sum prints, with what could not be read.
func TestDamagedSum(t *testing.T) {
	data := append(synthetic(10, 1), make([]byte, 3*bufferSize)...)
	path := filepath.Join(t.TempDir(), "torn.pcapng")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	g := read(t, Files(path)...)
	if sum := sha256.Sum256(data); g.files[0].SHA256 != hex.EncodeToString(sum[:]) || g.files[0].Bytes != int64(len(data)) || len(g.packets) != 10 {
		t.Errorf("%d packets of %+v", len(g.packets), g.files[0])
	}
}

func TestStandardInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = r
	defer func() { os.Stdin = before }()
	go func() {
		w.Write(synthetic(10_000, 1))
		w.Close()
	}()
	g := read(t, Files("-")...)
	if len(g.packets) != 10_000 || g.files[0].Name != "standard input" {
		t.Errorf("%d packets of %+v", len(g.packets), g.files[0])
	}
}

// TestOpen names everything that is wrong, each with the cure.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	add := func(name string, data []byte) {
		paths = append(paths, filepath.Join(dir, name))
		if err := os.WriteFile(paths[len(paths)-1], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	add("good.pcapng", synthetic(1, 1))
	add("empty", nil)
	add("text", []byte("02:14:07 reset"))
	add("short", []byte{1, 2})
	add("archive.zip", []byte("PK\x03\x04 and so on"))
	add("a.xz", []byte{0xFD, '7', 'z', 'X', 'Z', 0})
	add("header.pcap", little.AppendUint32(nil, magicMicro))
	add("section", section(little)[:20])
	add("bad.gz", []byte{0x1F, 0x8B, 0, 0})
	paths = append(paths, filepath.Join(dir, "none"), dir)
	_, err := Open(Files(paths...), Options{})
	if err == nil {
		t.Fatal("all of it is taken for captures")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		"empty: is empty", "text: is no capture, it begins with 30323a31", "short: is no capture", "archive.zip: is compressed with zip", "a.xz: is compressed with xz",
		"header.pcap: ends within the header", "section: the file ends within a block", "bad.gz: gzip:", "none: no such file", ": is a directory",
	} {
		if i >= len(lines) || !strings.Contains(strings.ReplaceAll(lines[i], "stat ", ""), want) {
			t.Errorf("line %d of the error: want %q in\n%v", i+1, want, err)
		}
	}
	if len(lines) != 10 {
		t.Errorf("%d lines, want 10:\n%v", len(lines), err)
	}
	if _, err := Open(nil, Options{}); err == nil {
		t.Error("no source at all is taken")
	}
}

// TestProgress grows to the size of the files.
func TestProgress(t *testing.T) {
	data := zipped(t, synthetic(100_000, 1))
	r, err := Open([]Source{{Name: "a", In: bytes.NewReader(data), Size: int64(len(data))}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	before, total := r.Progress()
	for err == nil {
		_, err = r.Next()
	}
	if done, _ := r.Progress(); err != io.EOF || before >= total || done != total || total != int64(len(data)) {
		t.Errorf("progress went from %d to %d of %d, %v", before, done, total, err)
	}
	r, err = Open([]Source{{Name: "a", In: bytes.NewReader(data)}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, total := r.Progress(); total != 0 {
		t.Errorf("the size of a stream is known: %d", total)
	}
}
