package filter

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// maxInstructions is BPF_MAXINSNS of linux/bpf_common.h; the kernel refuses longer classic programs with EINVAL.
const maxInstructions = 4096

// label is a place in a program, possibly not known yet. next is the place after the jump itself.
type label int

const next label = 0

// line is one instruction, and where it jumps to if it is a jump.
type line struct {
	raw    bpf.RawInstruction
	jump   bool
	jt, jf label // of a conditional jump
	to     label // of an unconditional one
	note   string

	farT, farF bool // the target is more than 255 away: reached by an unconditional jump that follows
}

func (l line) size() int {
	n := 1
	if l.farT {
		n++
	}
	if l.farF {
		n++
	}
	return n
}

// assembler collects lines, all of whose jumps go forward, and turns them into a program with legal distances.
type assembler struct {
	lines []line
	at    []int // by label: index of the line it stands before; -1 while unknown
	note  string
}

func newAssembler() *assembler { return &assembler{at: []int{-1}} }

// label returns a new place, to be set with place.
func (a *assembler) label() label {
	a.at = append(a.at, -1)
	return label(len(a.at) - 1)
}

// place says that l is here.
func (a *assembler) place(l label) { a.at[l] = len(a.lines) }

// explain annotates the lines from here on, until the next call, in the listing.
func (a *assembler) explain(format string, args ...any) { a.note = fmt.Sprintf(format, args...) }

// add appends instructions that do not jump.
func (a *assembler) add(instructions ...bpf.Instruction) {
	for _, ins := range instructions {
		raw, err := ins.Assemble()
		if err != nil {
			panic(fmt.Sprintf("filter: %v: %v", ins, err)) // only constants of this package reach this
		}
		a.raw(raw)
	}
}

func (a *assembler) raw(raw bpf.RawInstruction) {
	a.lines = append(a.lines, line{raw: raw, note: a.note})
}

// Operations of conditional jumps on A and a constant (linux/bpf_common.h).
const (
	jeq  uint16 = opJmp | opJeq
	jgt  uint16 = opJmp | opJgt
	jge  uint16 = opJmp | opJge
	jset uint16 = opJmp | opJset
)

// branch jumps to jt if A op k holds, else to jf.
func (a *assembler) branch(op uint16, k uint32, jt, jf label) {
	a.lines = append(a.lines, line{raw: bpf.RawInstruction{Op: op, K: k}, jump: true, jt: jt, jf: jf, note: a.note})
}

// branchX jumps to jt if A op X holds, else to jf.
func (a *assembler) branchX(op uint16, jt, jf label) { a.branch(op|srcX, 0, jt, jf) }

// goTo jumps to l.
func (a *assembler) goTo(l label) {
	a.lines = append(a.lines, line{raw: bpf.RawInstruction{Op: opJmp | opJa}, jump: true, to: l, note: a.note})
}

// assemble resolves the labels, and returns the program and the note of each instruction.
func (a *assembler) assemble() ([]bpf.RawInstruction, []string) {
	a.dropUseless()
	starts := a.layout()
	program := make([]bpf.RawInstruction, 0, starts[len(a.lines)])
	notes := make([]string, 0, cap(program))
	for i, l := range a.lines {
		program = append(program, a.resolve(l, i, starts)...)
		for len(notes) < len(program) {
			notes = append(notes, l.note)
		}
	}
	return program, notes
}

// dropUseless removes unconditional jumps to what follows them anyway.
func (a *assembler) dropUseless() {
	keep := make([]bool, len(a.lines))
	following := len(a.lines) // the next line that stays
	for i := len(a.lines) - 1; i >= 0; i-- {
		l := a.lines[i]
		if keep[i] = !l.jump || l.raw.Op != opJmp|opJa || a.at[l.to] > following; keep[i] {
			following = i
		}
	}
	moved := make([]int, len(a.lines)+1) // by old index: the new one
	var lines []line
	for i, l := range a.lines {
		moved[i] = len(lines)
		if keep[i] {
			lines = append(lines, l)
		}
	}
	moved[len(a.lines)] = len(lines)
	a.lines = lines
	for l, at := range a.at {
		if at >= 0 {
			a.at[l] = moved[at]
		}
	}
}

// layout returns the position of each line and of the end, having marked the jumps that are too far. Marking one makes
// others longer, so it repeats until none is added.
func (a *assembler) layout() []int {
	starts := make([]int, len(a.lines)+1)
	for again := true; again; {
		again = false
		for i, l := range a.lines {
			starts[i+1] = starts[i] + l.size()
		}
		for i := range a.lines {
			l := &a.lines[i]
			if !l.jump || l.raw.Op == opJmp|opJa {
				continue
			}
			if !l.farT && l.jt != next && starts[a.at[l.jt]]-starts[i]-1 > 255 {
				l.farT, again = true, true
			}
			if !l.farF && l.jf != next && starts[a.at[l.jf]]-starts[i]-1 > 255 {
				l.farF, again = true, true
			}
		}
	}
	return starts
}

// resolve returns line i with its distances, and the unconditional jumps it needs.
func (a *assembler) resolve(l line, i int, starts []int) []bpf.RawInstruction {
	if !l.jump {
		return []bpf.RawInstruction{l.raw}
	}
	distance := func(to label, from int) int {
		if to == next {
			return starts[i+1] - from - 1
		}
		if a.at[to] <= i {
			panic(fmt.Sprintf("filter: line %d (%s) jumps back", i, l.note)) // a defect of this package
		}
		return starts[a.at[to]] - from - 1
	}
	at := starts[i]
	if l.raw.Op == opJmp|opJa {
		l.raw.K = uint32(distance(l.to, at))
		return []bpf.RawInstruction{l.raw}
	}
	out := []bpf.RawInstruction{l.raw}
	side := func(to label, far bool) uint8 {
		if !far {
			return uint8(distance(to, at))
		}
		out = append(out, bpf.RawInstruction{Op: opJmp | opJa, K: uint32(distance(to, at+len(out)))})
		return uint8(len(out) - 2)
	}
	out[0].Jt = side(l.jt, l.farT)
	out[0].Jf = side(l.jf, l.farF)
	return out
}
