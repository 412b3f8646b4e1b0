package filter

import "golang.org/x/net/bpf"

// parseIPv6 follows the chain of extension headers. Classic BPF has no loops, so it is unrolled.
func (b *builder) parseIPv6() {
	transport, icmp := b.label(), b.label()
	b.explain("IPv6")
	b.place(b.ipv6)
	b.headerIPv6(0)
	b.chain(maxHops, transport, icmp)
	b.explain("ICMPv6: an error that quotes a packet?")
	b.place(icmp)
	b.need(8 + 40)
	b.add(bpf.LoadIndirect{Off: 0, Size: 1})
	b.branch(jge, 1, next, b.other)
	b.branch(jgt, 4, b.other, next)
	b.explain("ICMPv6: the quoted packet")
	b.headerIPv6(8)
	b.chain(quotedHops, transport, b.other)
	b.explain("IPv6: the transport header")
	b.place(transport)
	b.add(bpf.StoreScratch{Src: bpf.RegX, N: slotL4}, bpf.ALUOpConstant{Op: bpf.ALUOpOr, Val: kindV6},
		bpf.StoreScratch{Src: bpf.RegA, N: slotKind})
	b.goTo(b.ports)
}

// headerIPv6 reads the IPv6 header at X + at, and leaves the next header's type in A and its offset in X.
func (b *builder) headerIPv6(at uint32) {
	b.need(at + 40)
	if b.addr6 {
		for i := range 4 {
			word := uint32(4 * i)
			b.add(bpf.LoadIndirect{Off: at + 8 + word, Size: 4}, bpf.StoreScratch{Src: bpf.RegA, N: slotSrc + i},
				bpf.LoadIndirect{Off: at + 24 + word, Size: 4}, bpf.StoreScratch{Src: bpf.RegA, N: slotDst + i})
		}
	}
	b.add(bpf.LoadIndirect{Off: at + 6, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: slotTemp},
		bpf.LoadConstant{Dst: bpf.RegA, Val: at + 40}, bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{},
		bpf.LoadScratch{Dst: bpf.RegA, N: slotTemp})
}

// chain follows up to hops extension headers from the one of type A at X: to transport with the protocol in A and its
// offset in X, to icmp likewise, to later with everything stored, or to other.
func (b *builder) chain(hops int, transport, icmp label) {
	later := b.label()
	for hop := 0; ; hop++ {
		b.branch(jeq, protoTCP, transport, next)
		b.branch(jeq, protoUDP, transport, next)
		if hop == hops {
			b.branch(jeq, protoICMPv6, icmp, b.other)
			break
		}
		b.branch(jeq, protoICMPv6, icmp, next)
		b.explain("IPv6: extension header %d", hop+1)
		b.extension(later)
	}
	b.explain("IPv6: later fragment")
	b.place(later)
	b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotTemp}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 24})
	stored := b.label()
	b.branch(jeq, protoTCP, stored, next)
	b.branch(jeq, protoUDP, next, b.other)
	b.place(stored)
	b.add(bpf.ALUOpConstant{Op: bpf.ALUOpOr, Val: kindV6}, bpf.StoreScratch{Src: bpf.RegA, N: slotKind},
		bpf.LoadConstant{Dst: bpf.RegA, Val: 8}, bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.StoreScratch{Src: bpf.RegA, N: slotL4})
	b.goTo(b.later)
}

// extension steps over the extension header of type A at X. Its first four bytes hold all there is to know: the next
// header's type, the length, and in a fragment header the offset.
func (b *builder) extension(later label) {
	fragment, auth, known, step := b.label(), b.label(), b.label(), b.label()
	b.add(bpf.StoreScratch{Src: bpf.RegA, N: slotNext})
	b.need(4)
	b.add(bpf.LoadIndirect{Off: 0, Size: 4}, bpf.StoreScratch{Src: bpf.RegA, N: slotTemp},
		bpf.LoadScratch{Dst: bpf.RegA, N: slotNext})
	b.branch(jeq, nextFragment, fragment, next)
	b.branch(jeq, nextAuth, auth, next)
	b.branch(jeq, nextHopByHop, known, next)
	b.branch(jeq, nextRouting, known, next)
	b.branch(jeq, nextDstOption, next, b.other)
	b.place(known)
	b.length(1, 3)
	b.goTo(step)
	b.place(auth)
	b.length(2, 2)
	b.goTo(step)
	b.place(fragment)
	b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotTemp})
	b.branch(jset, 0xfff8, later, next)
	b.add(bpf.LoadConstant{Dst: bpf.RegA, Val: 8})
	b.place(step)
	b.add(bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{}, bpf.LoadScratch{Dst: bpf.RegA, N: slotTemp},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 24})
}

// length sets A to the length of an extension header, whose first word is in slotTemp: (length field + more) << shift.
func (b *builder) length(more, shift uint32) {
	b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotTemp}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xff}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: more},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: shift})
}
