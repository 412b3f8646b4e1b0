package filter

import (
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
)

// expression is a tcpdump expression as libpcap compiles it, for frames with and without an Ethernet header.
type expression struct {
	text     string
	ethernet []bpf.RawInstruction
	ip       []bpf.RawInstruction // for devices without a link header; nil if the expression needs one
}

// chainExpression writes s.expr into the program: what it accepts goes to its keep label, what it rejects to miss.
// guard says that later stages follow, for which a load that runs off the packet must not end the program.
func (b *builder) chainExpression(s stage, miss label, guard bool) error {
	b.explain("%s: %s", s.name, s.expr.text)
	ethernet := b.label()
	b.add(bpf.LoadExtension{Num: bpf.ExtLinkLayerType})
	b.branch(jeq, linkEthernet, ethernet, next)
	b.branch(jeq, linkLoopback, ethernet, next)
	if s.expr.ip == nil {
		b.goTo(miss)
	} else if err := b.inline(s, s.expr.ip, miss, guard); err != nil {
		return err
	}
	b.place(ethernet)
	return b.inline(s, s.expr.ethernet, miss, guard)
}

// inline copies code with its jumps as labels, its returns as jumps, and its scratch memory where there is room.
func (b *builder) inline(s stage, code []bpf.RawInstruction, miss label, guard bool) error {
	slots, err := b.moveSlots(code)
	if err != nil {
		return fmt.Errorf("service %s: filter %q: %w", s.name, s.expr.text, err)
	}
	places := make([]label, len(code))
	for i := range places {
		places[i] = b.label()
	}
	keep := b.keep(s.snap)
	for i, ins := range code {
		b.place(places[i])
		switch {
		case ins.Op&classMask == opRet && ins.K == 0:
			b.goTo(miss)
		case ins.Op&classMask == opRet:
			b.goTo(keep)
		case ins.Op == opJmp|opJa:
			b.goTo(places[i+1+int(ins.K)])
		case ins.Op&classMask == opJmp:
			jt, jf := places[i+1+int(ins.Jt)], places[i+1+int(ins.Jf)]
			b.lines = append(b.lines, line{raw: ins, jump: true, jt: jt, jf: jf, note: b.note})
		default:
			if usesSlot(ins) {
				ins.K = slots[ins.K]
			}
			if guard {
				b.guard(ins, miss)
			}
			b.raw(ins)
		}
	}
	return nil
}

// guard goes to miss if the load would run off the packet. It keeps the registers that the load keeps.
func (b *builder) guard(ins bpf.RawInstruction, miss label) {
	if !readsPacket(ins) || ins.K >= negative {
		return
	}
	size := map[uint16]uint32{sizeW: 4, sizeH: 2, sizeB: 1}[ins.Op&sizeMask]
	switch ins.Op & modeMask {
	case modeAbs: // A is about to be replaced
		b.add(bpf.LoadExtension{Num: bpf.ExtLen})
		b.branch(jge, ins.K+size, next, miss)
	case modeInd: // so it is here, but X is needed
		b.add(bpf.LoadExtension{Num: bpf.ExtLen})
		b.branchX(jge, next, miss)
		b.add(bpf.ALUOpX{Op: bpf.ALUOpSub})
		b.branch(jge, ins.K+size, next, miss)
	case modeMsh: // X is about to be replaced, A is needed
		b.add(bpf.TAX{}, bpf.LoadExtension{Num: bpf.ExtLen})
		b.branch(jge, ins.K+1, next, miss)
		b.add(bpf.TXA{})
	}
}

// moveSlots returns a free slot of scratch memory for each that code uses.
func (b *builder) moveSlots(code []bpf.RawInstruction) (map[uint32]uint32, error) {
	reserved := b.reserved()
	moved := map[uint32]uint32{}
	free := uint32(0)
	for _, ins := range code {
		if _, done := moved[ins.K]; done || !usesSlot(ins) {
			continue
		}
		for slices.Contains(reserved, int(free)) {
			free++
		}
		if free > 15 {
			return nil, fmt.Errorf("too much arithmetic for one program: "+
				"it needs more than the %d words of scratch memory that the other services leave: split it into two services, "+
				"or leave out IPv6 cidrs elsewhere", len(moved))
		}
		moved[ins.K] = free
		free++
	}
	return moved, nil
}

func usesSlot(ins bpf.RawInstruction) bool {
	switch ins.Op & classMask {
	case opSt, opStx:
		return true
	case opLd, opLdx:
		return ins.Op&modeMask == modeMem
	}
	return false
}
