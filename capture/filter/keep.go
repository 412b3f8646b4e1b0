package filter

import "golang.org/x/net/bpf"

// keep returns the place that keeps a packet's headers and snap bytes of payload, or the whole packet.
func (b *builder) keep(snap uint32) label {
	l, ok := b.keeps[snap]
	if !ok {
		l = b.label()
		b.keeps[snap] = l
	}
	return l
}

// returns writes the ends of the program.
func (b *builder) returns() {
	b.place(b.drop)
	b.explain("drop")
	b.add(bpf.RetConstant{Val: 0})
	for _, snap := range sortedKeys(b.keeps) {
		b.place(b.keeps[snap])
		if snap == whole {
			b.explain("keep the whole packet")
			b.add(bpf.RetConstant{Val: whole})
			continue
		}
		b.explain("keep headers and %d bytes", snap)
		b.add(bpf.LoadConstant{Dst: bpf.RegX, Val: snap})
		b.goTo(b.finish)
	}
	b.headers()
}

// headers returns the end of the headers plus X.
func (b *builder) headers() {
	later, sum, tcpHeader, whole := b.label(), b.label(), b.label(), b.label()
	b.place(b.finish)
	b.explain("the end of the headers")
	b.add(bpf.StoreScratch{Src: bpf.RegX, N: slotTemp}, bpf.LoadScratch{Dst: bpf.RegX, N: slotL4},
		bpf.LoadScratch{Dst: bpf.RegA, N: slotKind})
	b.branch(jset, kindLater, later, next)
	b.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x3f})
	b.branch(jeq, protoTCP, tcpHeader, next)
	if b.careful {
		udp := b.label()
		b.branch(jeq, protoUDP, udp, next)
		b.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 0}, bpf.LoadConstant{Dst: bpf.RegA, Val: otherHeaders})
		b.goTo(sum)
		b.place(udp)
	}
	b.add(bpf.LoadConstant{Dst: bpf.RegA, Val: 8})
	b.goTo(sum)
	b.place(later)
	b.add(bpf.LoadConstant{Dst: bpf.RegA, Val: 0})
	b.goTo(sum)
	b.place(tcpHeader) // a quote, or a packet that was cut on its way, may end before the length of its header
	b.add(bpf.LoadExtension{Num: bpf.ExtLen}, bpf.ALUOpX{Op: bpf.ALUOpSub})
	b.branch(jge, 13, whole, next)
	b.add(bpf.LoadConstant{Dst: bpf.RegA, Val: 20})
	b.goTo(sum)
	b.place(whole)
	b.add(bpf.LoadIndirect{Off: 12, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 2},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x3c})
	b.branch(jge, 20, sum, next)
	b.add(bpf.LoadConstant{Dst: bpf.RegA, Val: 20})
	b.place(sum)
	b.add(bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.LoadScratch{Dst: bpf.RegX, N: slotTemp}, bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.RetA{})
}
