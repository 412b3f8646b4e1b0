package filter

// Parts of a classic BPF operation (linux/bpf_common.h); x/net/bpf keeps its own to itself.
const (
	opLd, opLdx, opSt, opStx    = 0x00, 0x01, 0x02, 0x03
	opAlu, opJmp, opRet, opMisc = 0x04, 0x05, 0x06, 0x07
	classMask                   = 0x07

	sizeW, sizeH, sizeB = 0x00, 0x08, 0x10
	sizeMask            = 0x18

	modeImm, modeAbs, modeInd = 0x00, 0x20, 0x40
	modeMem, modeLen, modeMsh = 0x60, 0x80, 0xa0
	modeMask                  = 0xe0

	opAdd, opSub, opMul, opDiv, opOr = 0x00, 0x10, 0x20, 0x30, 0x40
	opAnd, opLsh, opRsh, opNeg       = 0x50, 0x60, 0x70, 0x80
	opMod, opXor                     = 0x90, 0xa0

	opJa, opJeq, opJgt, opJge, opJset = 0x00, 0x10, 0x20, 0x30, 0x40

	srcX = 0x08 // of an ALU operation or jump: the operand is X, not K
	retA = 0x10
	txa  = 0x80
)

// Ancillary loads (linux/filter.h): offsets from which the kernel takes a fact about the packet instead of its bytes.
const (
	ancillary = 0xfffff000 // SKF_AD_OFF

	adProtocol   = ancillary + 0
	adPktType    = ancillary + 4
	adIfIndex    = ancillary + 8
	adHaType     = ancillary + 28
	adVLANTag    = ancillary + 44
	adVLANTagged = ancillary + 48
	adVLANTPID   = ancillary + 60
)

// negative is the first offset that is not one of the packet's bytes.
const negative = 0x80000000
