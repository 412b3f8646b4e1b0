package filter

import "golang.org/x/net/bpf"

// Memory estimates the bytes that the kernel charges a socket for the program, against MemoryLimit: struct bpf_prog and 8
// for each instruction of the translation to extended BPF (bpf_convert_filter in net/core/filter.c). It is exact on
// Linux 6.18, amd64; other kernels differ by a few percent.
func (p *Program) Memory() int {
	const header = 72 // offsetof(struct bpf_prog, insns)
	instructions := 3 // clear A and X, keep the packet's address
	if p.Loads() > 0 {
		instructions += 4 // where the packet's bytes begin and how many are at hand
	}
	for _, ins := range p.raw {
		instructions += translated(ins)
	}
	return header + 8*instructions
}

// Fits reports whether the kernel takes the program under this limit in bytes, also in place of one of its size.
func (p *Program) Fits(limit int) bool { return p.Len() <= maxInstructions && 2*p.Memory() < limit }

// translated is how many instructions of extended BPF the kernel makes of ins.
func translated(ins bpf.RawInstruction) int {
	switch ins.Op & classMask {
	case opLd, opLdx:
		return translatedLoad(ins)
	case opAlu:
		if op := ins.Op & 0xf0; ins.Op&srcX != 0 && (op == opDiv || op == opMod) {
			return 5 // with the test for zero
		} else if ins.Op&srcX != 0 && op != opNeg {
			return 1
		}
	case opJmp:
		return translatedJump(ins)
	case opRet:
		if ins.Op&0x18 != retA {
			return 2
		}
	}
	return 1
}

func translatedLoad(ins bpf.RawInstruction) int {
	swap := 1 // to host order
	if ins.Op&sizeMask == sizeB {
		swap = 0
	}
	switch ins.Op & modeMask {
	case modeAbs:
		if ins.K < negative {
			n := 13 + swap // read directly, or else call the helper
			if ins.K == 0 {
				n--
			}
			return n
		}
		switch ins.K {
		case adIfIndex, adHaType:
			return 4
		case adVLANTagged:
			return 3
		case adProtocol, adPktType, adVLANTPID:
			return 2
		}
	case modeInd:
		if ins.K != 0 {
			return 9
		}
		return 8
	case modeMsh:
		if ins.K == 0 {
			return 12 + 6
		}
		return 13 + 6
	}
	return 1
}

// translatedJump knows that extended BPF has one target, and constants with a sign.
func translatedJump(ins bpf.RawInstruction) int {
	n := 1
	switch op := ins.Op & 0xf0; {
	case op == opJa:
		return 1
	case ins.Jf == 0:
	case ins.Jt == 0 && op != opJset: // inverted
	default:
		n = 2
	}
	if ins.Op&srcX == 0 && ins.K >= negative {
		n++
	}
	return n
}
