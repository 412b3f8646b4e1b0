package filter

import "golang.org/x/net/bpf"

// whole is the return value that keeps a packet as it is: the snapshot length of Ringside's files, in bytes.
const whole = 262144

// otherHeaders is how many bytes count as headers where the end of the headers is not known: neither TCP nor UDP.
// It holds the headers of ARP, ICMP, neighbour discovery, SCTP and of TCP inside an IP or GRE tunnel.
const otherHeaders = 96

// maxHops is how many IPv6 extension headers are followed: each kind once, and the destination options twice, as
// RFC 8200 (section 4.1) recommends, with two to spare. quotedHops is the same inside the quote of an ICMPv6 error.
const (
	maxHops    = 8
	quotedHops = 3
)

// Scratch memory, from the top so that expressions, which count from 0, rarely meet it. Each field is loaded once.
const (
	slotL4    = 15 // offset of the transport header, or of a later fragment's data
	slotKind  = 14 // what the packet is: kindOther, or protocol | kindV6 | kindLater
	slotSport = 13
	slotDport = 12
	slotTemp  = 11 // this and the next hold nothing from one step to another
	slotNext  = 10
	slotDst   = 6 // four words, one for IPv4
	slotSrc   = 2 // likewise
)

const (
	kindOther = 0
	kindLater = 0x40 // a later fragment: there are no ports
	kindV6    = 0x80

	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoICMPv6   = 58
	nextHopByHop  = 0
	nextRouting   = 43
	nextFragment  = 44
	nextAuth      = 51
	nextDstOption = 60
)

// ARPHRD types (linux/if_arp.h) whose frames begin with an Ethernet header. The others begin with the IP header.
const (
	linkEthernet = 1
	linkLoopback = 772
)

const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
)

// tagTypes are the EtherTypes of VLAN tags, those libpcap knows too.
var tagTypes = []uint32{0x8100, 0x88a8, 0x9100}

// quotingTypes are the ICMP messages that quote a packet (RFC 792): unreachable, source quench, redirect, time exceeded,
// parameter problem.
var quotingTypes = []uint32{3, 4, 5, 11, 12}

// builder writes the program of a list of stages.
type builder struct {
	*assembler
	stages         []stage
	connections    []Connection // left out
	addr4, addr6   bool         // addresses are compared, so they are loaded
	careful        bool         // a load must not run off a short packet, because an expression still has to see it
	ipv4, ipv6     label
	ports, later   label
	other, matched label
	finish, drop   label
	keeps          map[uint32]label
}

// parse leaves in scratch memory what the packet is. Quotes of ICMP errors look like the packet they quote.
func (b *builder) parse() {
	b.explain("link header: where the IP header begins")
	b.clearSlots()
	b.link()
	b.parseIPv4()
	b.parseIPv6()
	b.explain("later fragment: no ports")
	b.place(b.later)
	b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotKind}, bpf.ALUOpConstant{Op: bpf.ALUOpOr, Val: kindLater},
		bpf.StoreScratch{Src: bpf.RegA, N: slotKind})
	b.goTo(b.matched)
	b.explain("ports")
	b.place(b.ports)
	b.add(bpf.LoadScratch{Dst: bpf.RegX, N: slotL4})
	b.need(4)
	b.add(bpf.LoadIndirect{Off: 0, Size: 4}, bpf.TAX{},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xffff}, bpf.StoreScratch{Src: bpf.RegA, N: slotDport},
		bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16}, bpf.StoreScratch{Src: bpf.RegA, N: slotSport})
	b.goTo(b.matched)
	b.explain("neither TCP nor UDP nor an error that quotes one")
	b.place(b.other)
	if b.careful {
		b.add(bpf.LoadConstant{Dst: bpf.RegA, Val: kindOther}, bpf.StoreScratch{Src: bpf.RegA, N: slotKind})
	} else {
		b.goTo(b.drop)
	}
	b.place(b.matched)
}

// clearSlots writes every slot that some path reads, because the kernel refuses a program in which any path to a read
// lacks the write, whether it can be taken or not.
func (b *builder) clearSlots() {
	b.add(bpf.LoadConstant{Dst: bpf.RegA, Val: 0})
	for _, n := range b.reserved() {
		b.add(bpf.StoreScratch{Src: bpf.RegA, N: n})
	}
}

// reserved returns the slots that hold something from the parser to the last stage.
func (b *builder) reserved() []int {
	slots := []int{slotL4, slotKind, slotSport, slotDport}
	switch {
	case b.addr6:
		for i := range 4 {
			slots = append(slots, slotSrc+i, slotDst+i)
		}
	case b.addr4:
		slots = append(slots, slotSrc, slotDst)
	}
	return slots
}

// link puts the offset of the IP header into X.
func (b *builder) link() {
	ethernet := b.label()
	b.add(bpf.LoadExtension{Num: bpf.ExtLinkLayerType})
	b.branch(jeq, linkEthernet, ethernet, next)
	b.branch(jeq, linkLoopback, ethernet, next)
	b.needAbsolute(1)
	b.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 0}, bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
	b.branch(jeq, 0x40, b.ipv4, next)
	b.branch(jeq, 0x60, b.ipv6, b.other)
	b.place(ethernet)
	for offset := uint32(14); offset <= 22; offset += 4 {
		b.needAbsolute(offset)
		b.add(bpf.LoadConstant{Dst: bpf.RegX, Val: offset}, bpf.LoadAbsolute{Off: offset - 2, Size: 2})
		b.branch(jeq, typeIPv4, b.ipv4, next)
		b.branch(jeq, typeIPv6, b.ipv6, next)
		if offset == 22 {
			b.goTo(b.other)
			return
		}
		tagged := b.label()
		for _, t := range tagTypes {
			b.branch(jeq, t, tagged, next)
		}
		b.goTo(b.other)
		b.explain("VLAN tag in the data")
		b.place(tagged)
	}
}

// need goes on if n bytes follow offset X, else to other. It changes A. Where nothing comes after other, a load that
// runs off the packet does the same.
func (b *builder) need(n uint32) {
	if b.careful {
		b.require(n)
	}
}

// require is need where no load makes sure of n bytes.
func (b *builder) require(n uint32) {
	b.add(bpf.LoadExtension{Num: bpf.ExtLen})
	b.branchX(jge, next, b.other)
	b.add(bpf.ALUOpX{Op: bpf.ALUOpSub})
	b.branch(jge, n, next, b.other)
}

func (b *builder) needAbsolute(n uint32) {
	if b.careful {
		b.add(bpf.LoadExtension{Num: bpf.ExtLen})
		b.branch(jge, n, next, b.other)
	}
}

func (b *builder) parseIPv4() {
	b.explain("IPv4")
	b.place(b.ipv4)
	icmp := b.label()
	b.headerIPv4(0, icmp)
	b.explain("ICMP: an error that quotes a packet?")
	b.place(icmp)
	b.add(bpf.LoadIndirect{Off: 6, Size: 2})
	b.branch(jset, 0x1fff, b.other, next)
	b.addHeaderLength(0)
	b.add(bpf.TAX{})
	b.need(8 + 20)
	quote := b.label()
	b.add(bpf.LoadIndirect{Off: 0, Size: 1})
	for _, kind := range quotingTypes {
		b.branch(jeq, kind, quote, next)
	}
	b.goTo(b.other)
	b.explain("ICMP: the quoted packet")
	b.place(quote)
	b.headerIPv4(8, b.other)
}

// headerIPv4 reads the IPv4 header at offset X + at. icmp is where ICMP goes.
func (b *builder) headerIPv4(at uint32, icmp label) {
	protocol := b.label()
	b.require(at + 20) // of a later fragment, nothing behind the header is read
	b.add(bpf.LoadIndirect{Off: at + 9, Size: 1})
	b.branch(jeq, protoTCP, protocol, next)
	b.branch(jeq, protoUDP, protocol, next)
	b.branch(jeq, protoICMP, icmp, b.other)
	b.place(protocol)
	b.add(bpf.StoreScratch{Src: bpf.RegA, N: slotKind})
	if b.addr4 {
		b.add(bpf.LoadIndirect{Off: at + 12, Size: 4}, bpf.StoreScratch{Src: bpf.RegA, N: slotSrc},
			bpf.LoadIndirect{Off: at + 16, Size: 4}, bpf.StoreScratch{Src: bpf.RegA, N: slotDst})
	}
	b.addHeaderLength(at)
	b.add(bpf.StoreScratch{Src: bpf.RegA, N: slotL4}, bpf.LoadIndirect{Off: at + 6, Size: 2})
	b.branch(jset, 0x1fff, b.later, b.ports)
}

// addHeaderLength sets A to the end of the IPv4 header at X + at, with its options.
func (b *builder) addHeaderLength(at uint32) {
	b.add(bpf.LoadIndirect{Off: at, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2})
	if at > 0 {
		b.add(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: at})
	}
	b.add(bpf.ALUOpX{Op: bpf.ALUOpAdd})
}
