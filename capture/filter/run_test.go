package filter

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// A decision that depends on bytes beyond the cut keeps what there is; one beyond the packet drops it.
func TestRunOnCutFrames(t *testing.T) {
	p := mustProgram(t, mustCompile(t, []Service{tcp("db", 5432)}), nil, false)
	frame := ethernet(typeIPv4, tcpPacket("10.0.0.1", "10.0.0.2", 5432, 999, 100))
	for _, test := range []struct {
		name           string
		stored, length int
		want           uint32
	}{
		{"complete", len(frame), 0, 54},
		{"cut to its headers", 54, len(frame), 54},
		{"cut within the ports, to the longer packet", 36, len(frame), 36},
		{"ends within the ports", 36, 36, 0},
		{"cut before the header length", 46, len(frame), 46},
		{"ends before the header length", 46, 46, 54},
		{"cut within the IP header", 20, len(frame), 20},
		{"empty", 0, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := p.Run(frame[:test.stored], Meta{Length: test.length}); got != test.want {
				t.Errorf("keeps %d bytes, want %d", got, test.want)
			}
		})
	}
}

func TestRunDoesNotAllocate(t *testing.T) {
	p := mustProgram(t, mustCompile(t, catalogue()), []int{1, 2, 3}, false)
	frame := ethernet(typeIPv4, tcpPacket("10.0.0.1", "10.0.0.2", 4, 999, 100))
	if n := testing.AllocsPerRun(100, func() { p.Run(frame, Meta{Length: 2000, IfIndex: 9}) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkRun(b *testing.B) {
	p := mustProgram(b, mustCompile(b, Presets()), nil, false)
	frame := ethernet(typeIPv4, tcpPacket("10.0.0.1", "10.0.0.2", 6379, 999, 100))
	b.ReportAllocs()
	for b.Loop() {
		p.Run(frame, Meta{})
	}
}

// Nothing panics on any packet, and a cut packet is decided as the whole one or kept as it is.
func FuzzRun(f *testing.F) {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 1)), services: catalogue()}
	for i := range 40 {
		f.Add(g.frame(i), uint16(i), uint16(1), uint8(i), i%3 == 0)
	}
	var programs []*Program
	for _, services := range [][]Service{Presets(), catalogue(), catalogue()[:19]} {
		programs = append(programs, mustProgram(f, mustCompile(f, services), nil, false))
	}
	f.Fuzz(func(t *testing.T, frame []byte, cut, hatype uint16, pktType uint8, vlan bool) {
		m := Meta{HaType: hatype, PktType: pktType, VLAN: vlan, VLANTCI: cut, VLANTPID: 0x8100}
		for i, p := range programs {
			n := min(int(p.Run(frame, m)), len(frame))
			short := min(int(cut), len(frame))
			m.Length = len(frame)
			if got := min(int(p.Run(frame[:short], m)), short); got != short && got != min(n, short) {
				t.Errorf("program %d keeps %d of %d bytes, and %d when %d are stored", i, n, len(frame), got, short)
			}
		}
	})
}

// operations are all that both machines know and the kernel takes.
var operations = []uint16{
	opLd | sizeW | modeAbs, opLd | sizeH | modeAbs, opLd | sizeB | modeAbs,
	opLd | sizeW | modeInd, opLd | sizeH | modeInd, opLd | sizeB | modeInd,
	opLd | modeImm, opLdx | modeImm, opLd | modeMem, opLdx | modeMem, opLd | modeLen, opLdx | sizeB | modeMsh, opSt, opStx,
	opAlu | opAdd, opAlu | opSub, opAlu | opMul, opAlu | opDiv, opAlu | opOr, opAlu | opAnd, opAlu | opLsh, opAlu | opRsh,
	opAlu | opMod, opAlu | opXor, opAlu | opNeg,
	opAlu | opAdd | srcX, opAlu | opSub | srcX, opAlu | opMul | srcX, opAlu | opDiv | srcX, opAlu | opOr | srcX,
	opAlu | opAnd | srcX, opAlu | opMod | srcX, opAlu | opXor | srcX,
	opJmp | opJa, jeq, jgt, jge, jset, jeq | srcX, jgt | srcX, jge | srcX, jset | srcX,
	opMisc, opMisc | txa, opRet, opRet | retA,
}

// FuzzMachine compares Run with the machine of x/net/bpf on programs made of the input, eight bytes an instruction.
func FuzzMachine(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 50 {
		code := make([]byte, 8*(1+r.IntN(40)))
		for i := range code {
			code[i] = byte(r.Uint32())
		}
		f.Add(code, []byte("some packet with a few more bytes than the program needs, or fewer"))
	}
	f.Fuzz(func(t *testing.T, code, frame []byte) {
		var raw []bpf.RawInstruction
		for ; len(code) >= 8 && len(raw) < 200; code = code[8:] {
			ins := bpf.RawInstruction{Op: operations[int(code[0])%len(operations)], K: binary.LittleEndian.Uint32(code[4:])}
			switch code[1] % 3 { // offsets and slots that exist
			case 0:
				ins.K %= 16
			case 1:
				ins.K %= 64
			}
			if usesSlot(ins) {
				ins.K %= 16
			}
			if ins.Op&classMask == opJmp {
				ins.Jt, ins.Jf, ins.K = code[2]%8, code[3]%8, ins.K%8
			}
			if op := ins.Op & 0xf0; ins.Op&classMask == opAlu && (op == opLsh || op == opRsh) {
				ins.K %= 32
			}
			if readsPacket(ins) || ins.Op&classMask <= opLdx && ins.Op&modeMask == modeAbs {
				ins.K %= 128 // beyond, the offset counts as a fact about the packet
			}
			raw = append(raw, ins)
		}
		// The kernel adds X to an offset in 32 bits, x/net/bpf in 64: they agree while X is small.
		if slices.ContainsFunc(raw, setsLargeX) {
			for i := range raw {
				if readsPacket(raw[i]) && raw[i].Op&modeMask == modeInd {
					raw[i].Op = raw[i].Op&^modeMask | modeAbs
				}
			}
		}
		raw = append(raw, bpf.RawInstruction{Op: opRet | retA})
		instructions, ok := bpf.Disassemble(raw)
		if !ok {
			return
		}
		vm, err := bpf.NewVM(instructions)
		if err != nil {
			return
		}
		want, err := vm.Run(frame)
		if err != nil {
			return
		}
		if got := (&Program{raw: raw}).Run(frame, Meta{}); int(got) != want {
			t.Errorf("Run returns %d, x/net/bpf %d, for\n%v", got, want, instructions)
		}
	})
}

// setsLargeX reports whether an instruction may set X to a number that an offset cannot be added to in 32 bits.
func setsLargeX(ins bpf.RawInstruction) bool {
	switch ins.Op {
	case opMisc, opLdx | modeMem:
		return true
	case opLdx | modeImm:
		return ins.K >= negative-128
	}
	return false
}
