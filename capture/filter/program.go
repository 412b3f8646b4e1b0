package filter

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
)

// Program decides which packets a socket keeps, and how much of them. It is immutable; all methods may be called
// concurrently.
type Program struct {
	raw    []bpf.RawInstruction
	notes  []string // by instruction: what it is for
	coarse []string
}

// Instructions returns the program as SO_ATTACH_FILTER takes it.
func (p *Program) Instructions() []bpf.RawInstruction { return slices.Clone(p.raw) }

// Len is the number of instructions.
func (p *Program) Len() int { return len(p.raw) }

// Coarsened says, for people, what the program gave up to be small; empty if it is exact.
func (p *Program) Coarsened() []string { return slices.Clone(p.coarse) }

// Hash is the SHA-256 of the program in hexadecimal, over its instructions as 8 little-endian bytes each.
func (p *Program) Hash() string {
	var b []byte
	for _, ins := range p.raw {
		b = binary.LittleEndian.AppendUint16(b, ins.Op)
		b = append(b, ins.Jt, ins.Jf)
		b = binary.LittleEndian.AppendUint32(b, ins.K)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Loads is the number of instructions that read the packet's bytes: they are the expensive ones, in memory as in time.
func (p *Program) Loads() int {
	n := 0
	for _, ins := range p.raw {
		if readsPacket(ins) {
			n++
		}
	}
	return n
}

func readsPacket(ins bpf.RawInstruction) bool {
	switch mode := ins.Op & modeMask; ins.Op & classMask {
	case opLd:
		return mode == modeInd || mode == modeAbs && ins.K < negative
	case opLdx:
		return mode == modeMsh
	}
	return false
}

// String is the program as tcpdump -d prints one, with the service or step each part is for.
func (p *Program) String() string {
	var b strings.Builder
	last := ""
	for i, ins := range p.raw {
		if p.notes[i] != last {
			last = p.notes[i]
			fmt.Fprintf(&b, "; %s\n", last)
		}
		fmt.Fprintf(&b, "(%03d) %s\n", i, describe(i, ins))
	}
	return b.String()
}

// describe returns one instruction in tcpdump's notation, jumps with absolute targets.
func describe(at int, ins bpf.RawInstruction) string {
	text := fmt.Sprint(ins.Disassemble())
	if ins.Op&classMask != opJmp {
		return text
	}
	if ins.Op == opJmp|opJa {
		return fmt.Sprintf("ja %d", at+1+int(ins.K))
	}
	operand := fmt.Sprintf("#%#x", ins.K)
	if ins.Op&srcX != 0 {
		operand = "x"
	}
	name := map[uint16]string{opJeq: "jeq", opJgt: "jgt", opJge: "jge", opJset: "jset"}[ins.Op&0xf0]
	return fmt.Sprintf("%-4s %-12s jt %d  jf %d", name, operand, at+1+int(ins.Jt), at+1+int(ins.Jf))
}

// SizeError means that a program is longer than the kernel takes.
type SizeError struct{ Instructions int }

func (e *SizeError) Error() string {
	return fmt.Sprintf("the services need a filter of %d instructions, the kernel takes %d: name fewer services, cidrs or expressions",
		e.Instructions, maxInstructions)
}

// MemoryLimit returns net.core.optmem_max in bytes: what the kernel lets the filters of one socket use, that is one
// program's Memory, and during a swap that of the old and the new one together.
func MemoryLimit() (int, error) {
	const path = "/proc/sys/net/core/optmem_max"
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read the kernel's limit for filters: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read the kernel's limit for filters in %s: %w", path, err)
	}
	return n, nil
}
