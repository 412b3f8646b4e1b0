package input

import (
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/pcapng"
)

var little, big order = binary.LittleEndian, binary.BigEndian

// TestBlocks reads one file with everything that a section may hold, in both byte orders and a section of each.
func TestBlocks(t *testing.T) {
	for name, o := range map[string]order{"little-endian": little, "big-endian": big} {
		g := readBytes(t,
			section(o, text(o, 1, "a comment")...),
			describe(o, frame.Ethernet, 0, slices.Concat(text(o, interfaceName, "eth0"), option(o, interfaceResolution, 9), option(o, optEnd))...),
			describe(o, 147, 0, text(o, interfaceName, "odd")...),
			describe(o, frame.Raw, 40),
			block(o, 4, make([]byte, 9)), // name resolution: passed over
			enhanced(o, 0, 1_000_000_000_000_000_001, segment(1), slices.Concat(text(o, 1, "a comment"), option(o, packetFlags, o.AppendUint32(nil, 2)...), option(o, optEnd))...),
			enhanced(o, 1, 1_000_000_000_000_002, segment(2)),
			block(o, typeCustom, make([]byte, 12)), // a frame for tshark
			old(o, 2, 0xFFFF, 1_000_000_000_000_003, segment(3)[14:], option(o, packetFlags, o.AppendUint32(nil, 1)...)...),
			block(o, typeJournal, []byte("MESSAGE=x\n")),
			simple(o, 66, segment(4)),
			enhanced(o, 0, 1_000_000_000_000_000_005, nil),
		)
		// Interfaces count in µs unless they say otherwise.
		want := []int64{1_000_000_000_000_000_001, 1_000_000_000_000_002_000, 1_000_000_000_000_003_000, 1_000_000_000_000_003_000, 1_000_000_000_000_000_005}
		byNumber := slices.SortedFunc(slices.Values(g.packets), func(a, b frame.Packet) int { return int(a.Number) - int(b.Number) })
		if len(byNumber) != 5 || len(g.problems) > 0 || len(g.losses) > 0 {
			t.Fatalf("%s: %d packets, problems %v, losses %v", name, len(byNumber), g.problems, g.losses)
		}
		for i, p := range byNumber {
			n := []uint64{1, 2, 4, 6, 7}[i]
			if p.Number != n || p.Time != want[i] {
				t.Errorf("%s: packet %d has number %d and time %d, want %d and %d", name, i, p.Number, p.Time, n, want[i])
			}
		}
		if p := byNumber[0]; p.Seq != 1 || !p.Out || p.In || p.Vantage != 0 || !p.Stamped {
			t.Errorf("%s: enhanced: %+v", name, p)
		}
		if p := byNumber[1]; p.Protocol != 0 || p.Vantage != 1 {
			t.Errorf("%s: of a link that is not read: %+v", name, p)
		}
		if p := byNumber[2]; p.Seq != 3 || p.Out || !p.In || p.Vantage != 2 {
			t.Errorf("%s: old: %+v", name, p)
		}
		if p := byNumber[3]; p.Seq != 4 || p.Vantage != 0 || p.In || p.Out {
			t.Errorf("%s: simple: %+v", name, p)
		}
		wantInterfaces := []Interface{{"test", "eth0", frame.Ethernet}, {"test", "odd", 147}, {"test", "#2", frame.Raw}}
		if !reflect.DeepEqual(g.interfaces, wantInterfaces) {
			t.Errorf("%s: interfaces %v, want %v", name, g.interfaces, wantInterfaces)
		}
		if g.files[0].Packets != 7 {
			t.Errorf("%s: the file has %d frames, want 7", name, g.files[0].Packets)
		}
	}
}

// TestSections has ids begin anew in each section, and the same interface in two.
func TestSections(t *testing.T) {
	eth0, eth1 := text(little, interfaceName, "eth0"), text(big, interfaceName, "eth1")
	g := readBytes(t,
		section(little), describe(little, frame.Ethernet, 0, eth0...), enhanced(little, 0, 1_000_000, segment(1)),
		section(big), describe(big, frame.Ethernet, 0, eth1...), describe(big, frame.Ethernet, 0, text(big, interfaceName, "eth0")...),
		enhanced(big, 0, 2_000_000, segment(2)), enhanced(big, 1, 3_000_000, segment(3)),
	)
	var vantages []uint16
	for _, p := range g.packets {
		vantages = append(vantages, p.Vantage)
	}
	if !slices.Equal(g.numbers(), []uint64{1, 2, 3}) || !slices.Equal(vantages, []uint16{0, 1, 0}) || len(g.interfaces) != 2 {
		t.Errorf("numbers %v of vantages %v, interfaces %v", g.numbers(), vantages, g.interfaces)
	}
}

// TestNamesake has two interfaces of one name in a section: two hosts' captures were merged, unless it is Ringside that
// describes one again.
func TestNamesake(t *testing.T) {
	eth0 := text(little, interfaceName, "eth0")
	for application, want := range map[string][]string{"Mergecap": {"eth0", "eth0#1"}, "ringside": {"eth0"}} {
		g := readBytes(t, section(little, text(little, sectionApplication, application)...),
			describe(little, frame.Ethernet, 0, eth0...), describe(little, frame.Ethernet, 0, eth0...),
			enhanced(little, 0, 1, segment(1)), enhanced(little, 1, 2, segment(2)))
		var names []string
		for _, i := range g.interfaces {
			names = append(names, i.Name)
		}
		if !slices.Equal(names, want) || int(g.packets[1].Vantage) != len(want)-1 {
			t.Errorf("%s: interfaces %v, packet 2 at %d, want %v", application, names, g.packets[1].Vantage, want)
		}
		if ours := application == "ringside"; g.files[0].Ours != ours {
			t.Errorf("%s: the file is taken for Ringside's: %v", application, !ours)
		}
	}
}

func TestClock(t *testing.T) {
	for _, c := range []struct {
		resolution byte
		offset     int64
		ticks      uint64
		want       int64
	}{
		{6, 0, 1_700_000_000_123_456, 1_700_000_000_123_456_000},
		{9, 0, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789},
		{0, 0, 1_700_000_000, 1_700_000_000_000_000_000},
		{3, 0, 1_700_000_000_123, 1_700_000_000_123_000_000},
		{12, 0, 1_700_000_123_456_789_012, 1_700_000_123_456_789},
		{19, 0, 10_000_000_000_000_000_000, 1_000_000_000},
		{0x80 | 10, 0, 1_700_000_000<<10 | 512, 1_700_000_000_500_000_000},
		{0x80 | 32, 0, 1_700_000_000<<32 | 1<<30, 1_700_000_000_250_000_000},
		{0x80 | 63, 0, 1<<63 | 1<<62, 1_500_000_000},
		{0x80, 0, 7, 7_000_000_000},
		{6, 1_700_000_000, 123_456, 1_700_000_000_123_456_000},
		{9, -1, 1_500_000_000, 500_000_000},
		{9, 0, math.MaxUint64, math.MaxInt64},
		{0, 0, math.MaxUint64, math.MaxInt64},
		{6, math.MaxInt64, 0, math.MaxInt64},
		{6, math.MinInt64, 0, math.MaxInt64},
	} {
		k, err := newClock(c.resolution)
		k.offset = c.offset
		if got := k.ns(c.ticks); err != nil || got != c.want {
			t.Errorf("if_tsresol %#x, offset %d, %d ticks: %d, %v, want %d", c.resolution, c.offset, c.ticks, got, err, c.want)
		}
	}
	for _, resolution := range []byte{20, 127, 0x80 | 64, 255} {
		if _, err := newClock(resolution); err == nil {
			t.Errorf("if_tsresol %#x is taken", resolution)
		}
	}
}

// TestLosses has every way in which captures say that packets are missing.
func TestLosses(t *testing.T) {
	o := little
	count := func(code uint16, n uint64) []byte { return option(o, code, o.AppendUint64(nil, n)...) }
	statistics := func(ticks uint64, options ...byte) []byte {
		return block(o, pcapng.TypeStatistics, append(o.AppendUint32(o.AppendUint32(o.AppendUint32(nil, 0), uint32(ticks>>32)), uint32(ticks)), options...))
	}
	eth0 := describe(o, frame.Ethernet, 0, text(o, interfaceName, "eth0")...)
	g := readBytes(t, section(o), eth0,
		enhanced(o, 0, 1_000, segment(1)),
		enhanced(o, 0, 2_000, segment(2), count(droppedCount, 3)...),
		old(o, 0, 4, 3_000, segment(3)),
		statistics(4_000, count(statisticsDropped, 5)...),
		statistics(5_000, count(statisticsDropped, 5)...),
		statistics(6_000, count(statisticsDropped, 7)...),
	)
	want := []Loss{{From: 1e6, To: 2e6, Packets: 3}, {From: 2e6, To: 3e6, Packets: 4}, {From: 1e6, To: 4e6, Packets: 5}, {From: 5e6, To: 6e6, Packets: 2}}
	for i, l := range g.losses {
		if l.Why == "" {
			t.Errorf("%+v says nothing", l)
		}
		g.losses[i].Why = ""
	}
	for i := range want {
		want[i].File, want[i].Interfaces = "test", []string{"eth0"}
	}
	if !reflect.DeepEqual(g.losses, want) {
		t.Errorf("losses\n%+v, want\n%+v", g.losses, want)
	}
}

// TestNotes has what Ringside's own files say. The shared ring serves every interface that is no ring itself.
func TestNotes(t *testing.T) {
	b := pcapng.AppendSection(nil, "ringside", "")
	for _, name := range []string{"eth0", "veth1", "veth2"} {
		b = pcapng.AppendInterface(b, pcapng.Interface{Name: name})
	}
	b = append(b, make([]byte, -len(b)&4095)...)[:len(b)]
	b = append(b, pcapng.AppendSummary(nil, pcapng.Summary{Ring: "eth0", From: 1, To: 2})...)
	for _, n := range []pcapng.Note{
		{Kind: pcapng.NoteDropped, Ring: "eth0", From: 10, To: 20, Packets: 5},
		{Kind: pcapng.NoteDropped, Ring: "(shared)", From: 30, To: 40, Packets: 6},
		{Kind: pcapng.NoteGap, From: 50, To: 60, Text: "restarted"},
		{Kind: pcapng.NoteClock, To: 70, Step: 5},
		{Kind: pcapng.NoteUnwritten, Ring: "gone", From: 80, To: 90},
		{Kind: pcapng.NoteDamaged, Ring: "eth0", From: 100, To: 110},
	} {
		b = pcapng.AppendNote(b, n)
	}
	b = append(b, block(little, pcapng.TypeLocal, []byte("another program's"))...)
	b = pcapng.AppendStatistics(b, 0, 100, 10, 5) // the same drops once more, without their date
	g := readBytes(t, b)
	want := []Loss{
		{"test", []string{"eth0"}, 10, 20, 5, reasons[pcapng.NoteDropped]},
		{"test", []string{"veth1", "veth2"}, 30, 40, 6, reasons[pcapng.NoteDropped]},
		{"test", nil, 50, 60, 0, reasons[pcapng.NoteGap] + ": restarted"},
		{"test", []string{"veth1", "veth2"}, 80, 90, 0, reasons[pcapng.NoteUnwritten]},
		{"test", []string{"eth0"}, 100, 110, 0, reasons[pcapng.NoteDamaged]},
	}
	if !reflect.DeepEqual(g.losses, want) {
		t.Errorf("losses\n%+v, want\n%+v", g.losses, want)
	}
}

// TestDamage has every block that is none. What comes before it is used.
func TestDamage(t *testing.T) {
	o := little
	good := slices.Concat(section(o), describe(o, frame.Ethernet, 0), enhanced(o, 0, 1, segment(1)))
	lengths := enhanced(o, 0, 2, segment(2))
	o.PutUint32(lengths[len(lengths)-4:], 64)
	long := enhanced(o, 0, 2, segment(2))
	o.PutUint32(long[20:], 1000)
	huge := enhanced(o, 0, 2, segment(2))
	o.PutUint32(huge[4:], maxRecord+4)
	for name, bad := range map[string][]byte{
		"zeros":                   make([]byte, 4096),
		"lengths that differ":     lengths,
		"a packet longer than it": long,
		"a block of 16 MiB":       huge,
		"length 8":                {6, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0},
		"length 13":               {6, 0, 0, 0, 13, 0, 0, 0, 8, 0, 0, 0},
		"unknown interface":       enhanced(o, 1, 2, segment(2)),
		"short packet":            block(o, pcapng.TypePacket, make([]byte, 19)[:16]),
		"short old packet":        block(o, typeOldPacket, make([]byte, 16)),
		"short simple packet":     block(o, typeSimplePacket, nil),
		"short interface":         block(o, pcapng.TypeInterface, make([]byte, 4)),
		"short section":           block(o, pcapng.TypeSection, o.AppendUint32(nil, byteOrder)),
		"no byte order":           block(o, pcapng.TypeSection, make([]byte, 16)),
		"version 2":               block(o, pcapng.TypeSection, append(o.AppendUint32(nil, byteOrder), 2, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255)),
		"time in 10^-20 s":        describe(o, frame.Ethernet, 0, option(o, interfaceResolution, 20)...),
		"rest of an unread block": block(o, 77, make([]byte, 100))[:50],
	} {
		g := readBytes(t, good, bad, enhanced(o, 0, 3, segment(3)))
		if name == "rest of an unread block" {
			g = readBytes(t, good, bad)
		}
		if !slices.Equal(g.numbers(), []uint64{1}) || len(g.problems) != 1 || g.files[0].Problem == nil {
			t.Errorf("%s: packets %v, problems %v", name, g.numbers(), g.problems)
			continue
		}
		if p := g.problems[0]; p.File != "test" || p.Packets != 1 || p.Offset != int64(len(good)) {
			t.Errorf("%s: %v, want it at byte %d", name, p, len(good))
		}
	}
}
