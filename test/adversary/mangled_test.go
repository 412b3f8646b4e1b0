package adversary

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ringside/ringside/detect"
)

const captures = "../../detect/testdata/captures"

// taken is a capture of a real fault, or of none.
type taken struct {
	name  string
	class detect.Class
	raw   []frame
}

// classOf has the words of truth.tsv that are not the classes' own.
var classOf = map[string]detect.Class{
	"conntrack-flush-no-impact": detect.None, "benign": detect.None, "sg-drop": detect.ConnectDropped, "reject-icmp": detect.ConnectRejected,
	"client-disconnect": detect.ClientExit, "server-state-loss": detect.ServerRestart, "pod-dead": detect.PodGone,
}

// mangling makes another capture of a real one; link is that of the result.
type mangling struct {
	name   string
	link   uint16
	mangle func([]frame, *rand.Rand) []frame
}

var manglings = []mangling{
	{"as it is", ethernet, func(f []frame, _ *rand.Rand) []frame { return f }},
	{"three packets in ten are missing", ethernet, func(f []frame, r *rand.Rand) []frame { return only(f, func(frame) bool { return r.IntN(10) >= 3 }) }},
	{"every packet twice", ethernet, func(f []frame, _ *rand.Rand) []frame { return twice(f) }},
	{"only to servers", ethernet, func(f []frame, _ *rand.Rand) []frame { return only(f, toServer) }},
	{"only from servers", ethernet, func(f []frame, _ *rand.Rand) []frame { return only(f, func(x frame) bool { return !toServer(x) }) }},
	{"only the uplinks", ethernet, func(f []frame, _ *rand.Rand) []frame {
		return only(f, func(x frame) bool { return strings.HasPrefix(x.link, "eth") })
	}},
	{"only the pods' side", ethernet, func(f []frame, _ *rand.Rand) []frame {
		return only(f, func(x frame) bool { return strings.HasPrefix(x.link, "eni") })
	}},
	{"numbers that wrap", ethernet, wrap},
	{"IPv6", ethernet, func(f []frame, _ *rand.Rand) []frame { return each(f, sixth) }},
	{"cut to 54 bytes", ethernet, func(f []frame, _ *rand.Rand) []frame {
		return each(f, func(x frame) frame { x.data = x.data[:min(54, len(x.data))]; return x })
	}},
	{"interfaces unnamed", ethernet, func(f []frame, _ *rand.Rand) []frame { return each(f, unnamed) }},
	{"cooked, as -i any", cooked, func(f []frame, _ *rand.Rand) []frame { return each(f, func(x frame) frame { return cook(unnamed(x)) }) }},
	{"in disorder by 2 ms", ethernet, func(f []frame, r *rand.Rand) []frame { return shuffle(f, r) }},
	{"times of whole milliseconds", ethernet, func(f []frame, _ *rand.Rand) []frame {
		return each(f, func(x frame) frame { x.at -= x.at % 1e6; return x })
	}},
}

// TestMangled: what was a fault is that fault still, or can no longer be told; it does not become another of the node's.
func TestMangled(t *testing.T) {
	for _, c := range all(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for n, m := range manglings {
				r := analyze(t, capture(m.mangle(slices.Clone(c.raw), rand.New(rand.NewPCG(1, uint64(n)))), m.link))
				innocent(t, m.name, r, c.class)
				if n == 0 && r.Verdict.Class != c.class {
					t.Errorf("%s: the verdict is %q, must be %s: %s\n%s", m.name, r.Verdict.Class, c.class, r.Verdict.Sentence, findings(r))
				}
				t.Logf("%s: %s", m.name, r.Verdict.Class)
			}
		})
	}
}

// TestMerged: two captures of different days are one file's worth of time apart, or are read as if they were of one day. What
// either shows may be said, and nothing else.
func TestMerged(t *testing.T) {
	list := all(t)
	for n, c := range list {
		other := list[(n+7)%len(list)]
		t.Run(c.name+" and "+other.name, func(t *testing.T) {
			t.Parallel()
			for _, days := range []int64{0, 3} {
				shift := c.raw[0].at - other.raw[0].at + days*86400e9
				later := each(slices.Clone(other.raw), func(x frame) frame { x.at += shift; return x })
				r := analyze(t, capture(c.raw, ethernet), capture(later, ethernet))
				for _, f := range r.Findings {
					if f.Class.Node() && f.Class != c.class && f.Class != other.class {
						t.Errorf("%d days apart: neither is %s\n%s", days, f.Class, findings(r))
					}
				}
				if v := r.Verdict.Class; v.Node() && v != c.class && v != other.class {
					t.Errorf("%d days apart: the verdict is %s: %s", days, v, r.Verdict.Sentence)
				}
			}
		})
	}
}

// all reads the captures, and what they are of.
func all(t *testing.T) (list []taken) {
	t.Helper()
	truth, err := os.ReadFile(filepath.Join(captures, "truth.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(truth)), "\n")[1:]
	for _, line := range lines {
		fields := strings.Split(line, "\t")
		word, _, _ := strings.Cut(fields[4], " ")
		class, other := classOf[word]
		if !other {
			class = detect.Class(word)
		}
		list = append(list, taken{strings.TrimSuffix(fields[0], ".pcapng"), class, read(t, filepath.Join(captures, fields[0]+".zst"))})
	}
	if len(list) < 20 {
		t.Fatalf("%d captures in %s", len(list), captures)
	}
	return list
}

// read reads a capture of Ringside's own form: little-endian, times in ns.
func read(t *testing.T, path string) (frames []frame) {
	t.Helper()
	packed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := zstd.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	type iface struct {
		name string
		unit int64 // ns
	}
	var links []iface
	for len(b) >= 12 {
		size := le.Uint32(b[4:])
		block := b[8 : size-4]
		switch le.Uint32(b) {
		case 1:
			i := iface{unit: 1000}
			for o := block[8:]; len(o) >= 4 && le.Uint16(o) != 0; o = o[4+(le.Uint16(o[2:])+3)&^3:] {
				switch value := o[4 : 4+le.Uint16(o[2:])]; le.Uint16(o) {
				case 2:
					i.name = string(value)
				case 9:
					if value[0] == 9 {
						i.unit = 1
					}
				}
			}
			links = append(links, i)
		case 6:
			i := links[le.Uint32(block)]
			at := int64(uint64(le.Uint32(block[4:]))<<32 | uint64(le.Uint32(block[8:])))
			frames = append(frames, frame{at * i.unit, i.name, block[20 : 20+le.Uint32(block[12:])], int(le.Uint32(block[16:]))})
		}
		b = b[size:]
	}
	return frames
}

func each(frames []frame, f func(frame) frame) []frame {
	for n := range frames {
		frames[n] = f(frames[n])
	}
	return frames
}

func only(frames []frame, keep func(frame) bool) []frame {
	return slices.DeleteFunc(frames, func(f frame) bool { return !keep(f) })
}

func twice(frames []frame) (all []frame) {
	for _, f := range frames {
		all = append(all, f)
		f.at += 3000
		all = append(all, f)
	}
	return all
}

func unnamed(f frame) frame { f.link = ""; return f }

func shuffle(frames []frame, r *rand.Rand) []frame {
	seen := map[*byte]int64{}
	for _, f := range frames {
		seen[&f.data[0]] = f.at + r.Int64N(2e6)
	}
	slices.SortStableFunc(frames, func(a, b frame) int { return cmp.Compare(seen[&a.data[0]], seen[&b.data[0]]) })
	return frames
}

// The captures are of Ethernet without tags and IPv4 without options.
const ipAt, transportAt = 14, 34

// isTCP says whether a frame has all of a TCP header without options.
func isTCP(f frame) bool {
	return len(f.data) >= transportAt+20 && binary.BigEndian.Uint16(f.data[12:]) == 0x0800 && f.data[ipAt+9] == tcp
}

// toServer says whether the frame is for a server's port; all others, ICMP too, count as from one.
func toServer(f frame) bool {
	return isTCP(f) && binary.BigEndian.Uint16(f.data[transportAt+2:]) < 10000
}

// wrap moves all sequence numbers by the same amount, so that those of many conversations wrap within the capture. What
// quotes and selective acknowledgements say is moved as well.
func wrap(frames []frame, _ *rand.Rand) []frame {
	var middle uint32
	for _, f := range frames[len(frames)/2:] {
		if isTCP(f) && toServer(f) {
			middle = binary.BigEndian.Uint32(f.data[transportAt+4:])
			break
		}
	}
	move := func(b []byte) { binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)-middle) }
	return each(frames, func(f frame) frame {
		f.data = bytes.Clone(f.data)
		switch {
		case isTCP(f):
			h := f.data[transportAt:]
			move(h[4:])
			if h[13]&ack != 0 {
				move(h[8:])
			}
			moveSACK(h[20:min(len(h), int(h[12]>>4)*4)], move)
		case len(f.data) >= transportAt+8+20+8 && f.data[ipAt+9] == icmp && f.data[transportAt+8+9] == tcp:
			move(f.data[transportAt+8+20+4:])
		}
		return f
	})
}

func moveSACK(options []byte, move func([]byte)) {
	for len(options) >= 2 && options[0] != 0 {
		if options[0] == 1 {
			options = options[1:]
			continue
		}
		size := int(options[1])
		if size < 2 || size > len(options) {
			return
		}
		if options[0] == 5 {
			for b := options[2:size]; len(b) >= 4; b = b[4:] {
				move(b)
			}
		}
		options = options[size:]
	}
}

// cook gives a frame the header that Linux makes for the interface any (LINKTYPE_LINUX_SLL).
func cook(f frame) frame {
	head := append([]byte{0, 0, 0, 1, 0, 6}, f.data[6:12]...)
	f.data = append(append(head, 0, 0), f.data[12:]...)
	f.wire += 2
	return f
}

// sixth is the frame as if it were IPv6, with ICMPv6's types.
func sixth(f frame) frame {
	if len(f.data) < transportAt || binary.BigEndian.Uint16(f.data[12:]) != 0x0800 {
		return f
	}
	ip, grown := sixthIP(f.data[ipAt:])
	f.data = append(append(bytes.Clone(f.data[:12]), 0x86, 0xdd), ip...)
	f.wire += grown
	return f
}

func sixthIP(four []byte) (six []byte, grown int) {
	body := bytes.Clone(four[20:])
	length, next := binary.BigEndian.Uint16(four[2:])-20, four[9]
	grown = 20
	if next == icmp && len(body) >= 8+20 && body[0] == 3 {
		quote, more := sixthIP(body[8:])
		codes := map[byte]byte{0: 0, 1: 3, 3: 4, 13: 1}
		body = append([]byte{1, codes[body[1]], 0, 0, 0, 0, 0, 0}, quote...)
		length += uint16(more)
		grown += more
	}
	if next == icmp {
		next = 58
	}
	six = []byte{0x60, 0, 0, 0, byte(length >> 8), byte(length), next, four[8]}
	for _, a := range [][]byte{four[12:16], four[16:20]} {
		six = append(append(six, 0xfd, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), a...)
	}
	return append(six, body...), grown
}
