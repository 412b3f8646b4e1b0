package filter

// Meta is what the kernel knows of a packet besides its bytes.
type Meta struct {
	Length   int    // in bytes before any cut; 0 means that the frame is complete
	Protocol uint16 // EtherType behind any stripped tag (sll_protocol), in host order
	IfIndex  int
	HaType   uint16 // ARPHRD type of the interface (sll_hatype); 0 means Ethernet
	PktType  uint8  // PACKET_HOST, PACKET_OUTGOING, … (sll_pkttype)
	VLAN     bool   // a tag was stripped from the frame: VLANTCI of type VLANTPID
	VLANTCI  uint16
	VLANTPID uint16
}

// Run returns how many bytes of a packet the program keeps, 0 for none, as the kernel computes it; more than it has
// means all. frame is what a SOCK_RAW socket sees, possibly cut, as by a coarse program: where the decision depends on
// bytes beyond the cut (expressions on payload may), all that is there is kept, rather than lost. It allocates nothing.
func (p *Program) Run(frame []byte, m Meta) uint32 {
	length := uint32(max(m.Length, len(frame)))
	var a, x uint32
	var mem [16]uint32
	for pc := 0; pc < len(p.raw); pc++ {
		ins := p.raw[pc]
		switch ins.Op & classMask {
		case opLd, opLdx:
			v, state := load(frame, length, &m, &mem, ins, x)
			if state == outside {
				return 0
			}
			if state == cutOff {
				return uint32(len(frame))
			}
			if ins.Op&classMask == opLd {
				a = v
			} else {
				x = v
			}
		case opSt:
			mem[ins.K&15] = a
		case opStx:
			mem[ins.K&15] = x
		case opAlu:
			operand := ins.K
			if ins.Op&srcX != 0 {
				operand = x
			}
			var ok bool
			if a, ok = compute(ins.Op&0xf0, a, operand); !ok {
				return 0
			}
		case opJmp:
			pc += jump(ins, a, x)
		case opRet:
			if ins.Op&0x18 == retA {
				return a
			}
			return ins.K
		case opMisc:
			if ins.Op&txa != 0 {
				a = x
			} else {
				x = a
			}
		}
	}
	return 0
}
