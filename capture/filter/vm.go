package filter

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
)

// found is how a load ended.
type found int

const (
	inside  found = iota
	outside       // beyond the packet: the kernel then drops it
	cutOff        // beyond what is stored of the packet
)

// load does a load into A or X; x is the register before it.
func load(frame []byte, length uint32, m *Meta, mem *[16]uint32, ins bpf.RawInstruction, x uint32) (uint32, found) {
	switch ins.Op & modeMask {
	case modeImm:
		return ins.K, inside
	case modeMem:
		return mem[ins.K&15], inside
	case modeLen:
		return length, inside
	case modeMsh:
		v, state := fetch(frame, length, ins.K, sizeB)
		return v & 0xf << 2, state
	case modeAbs:
		if ins.K >= negative {
			return fact(m, ins.K)
		}
		return fetch(frame, length, ins.K, ins.Op&sizeMask)
	default: // modeInd
		return fetch(frame, length, ins.K+x, ins.Op&sizeMask)
	}
}

// fetch reads a big-endian number of the packet. Offsets from negative on are negative to the kernel, which has no
// bytes there.
func fetch(frame []byte, length, offset uint32, size uint16) (uint32, found) {
	n := uint32(4)
	switch size {
	case sizeH:
		n = 2
	case sizeB:
		n = 1
	}
	if offset >= negative || offset+n > length {
		return 0, outside
	}
	if int(offset)+int(n) > len(frame) {
		return 0, cutOff
	}
	switch b := frame[offset:]; n {
	case 1:
		return uint32(b[0]), inside
	case 2:
		return uint32(binary.BigEndian.Uint16(b)), inside
	default:
		return binary.BigEndian.Uint32(b), inside
	}
}

// fact is an ancillary load. supported knows which there are.
func fact(m *Meta, k uint32) (uint32, found) {
	switch k {
	case adProtocol:
		return uint32(m.Protocol), inside
	case adPktType:
		return uint32(m.PktType & 7), inside
	case adIfIndex:
		return uint32(m.IfIndex), inside
	case adHaType:
		if m.HaType == 0 {
			return linkEthernet, inside
		}
		return uint32(m.HaType), inside
	case adVLANTag:
		return uint32(m.VLANTCI), inside
	case adVLANTagged:
		if m.VLAN {
			return 1, inside
		}
		return 0, inside
	case adVLANTPID:
		return uint32(m.VLANTPID), inside
	}
	return 0, outside
}

// supported reports whether Run can do the load as the kernel does.
func supported(ins bpf.RawInstruction) bool {
	switch ins.Op & (classMask | modeMask) {
	case opLd | modeAbs:
		if ins.K < negative {
			return true
		}
		_, state := fact(&Meta{}, ins.K)
		return state == inside
	case opLdx | modeMsh:
		return ins.K < negative
	}
	return true
}

// compute does an operation on A, and says no where the kernel drops the packet: division by zero. Shifts count modulo
// 32, as the instructions that the kernel translates them to.
func compute(op uint16, a, operand uint32) (uint32, bool) {
	switch op {
	case opAdd:
		return a + operand, true
	case opSub:
		return a - operand, true
	case opMul:
		return a * operand, true
	case opOr:
		return a | operand, true
	case opAnd:
		return a & operand, true
	case opXor:
		return a ^ operand, true
	case opLsh:
		return a << (operand & 31), true
	case opRsh:
		return a >> (operand & 31), true
	case opNeg:
		return -a, true
	case opDiv:
		if operand != 0 {
			return a / operand, true
		}
	case opMod:
		if operand != 0 {
			return a % operand, true
		}
	}
	return 0, false
}

// jump returns how many instructions to skip.
func jump(ins bpf.RawInstruction, a, x uint32) int {
	operand := ins.K
	if ins.Op&srcX != 0 {
		operand = x
	}
	var holds bool
	switch ins.Op & 0xf0 {
	case opJa:
		return int(ins.K)
	case opJeq:
		holds = a == operand
	case opJgt:
		holds = a > operand
	case opJge:
		holds = a >= operand
	case opJset:
		holds = a&operand != 0
	}
	if holds {
		return int(ins.Jt)
	}
	return int(ins.Jf)
}
