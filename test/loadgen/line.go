package loadgen

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/test/netlab"
)

// Line offers one packet's copies to an interface. Only the low half of the number and 256 client ports vary; their
// numbers count down from Count-1 to 0.
type Line struct {
	Plan      Plan // Sizes, V6 and Tags are not used: Shape says it
	Shape     Shape
	Interface string
	Count     uint64  // packets, below 1<<32
	Rate      float64 // packets a second; 0: as fast as the kernel takes them
	CPU       int     // the core to run on, negative: any
}

const (
	liveFrames = 1 << 1     // BPF_F_TEST_XDP_LIVE_FRAMES (linux/bpf.h)
	attempts   = 1 << 22    // frames tried in one call, which cannot be interrupted: at most about a second
	backlog    = 50_000     // ns that a late program may catch up
	xdpDrop    = 1          // linux/bpf.h
	xdpPass    = 2          //
	stateSize  = 4 * 8      // of lineState
	firstPort  = 20000 >> 8 // high byte of the client port; the low one varies
)

// lineState is the program's only state: one value of an array map, which the program alone writes while it runs.
type lineState struct {
	Next      uint64 // earliest time of the next frame, ns of CLOCK_MONOTONIC
	Interval  uint64 // ns between frames
	Remaining uint64 // frames still to pass
	_         uint64
}

// Run offers the packets to the interface of a namespace and returns how long that took. It cannot be stopped before;
// a call takes up to a second longer than the last packet, so a measurement ends by the clock and not when Run returns.
func (l Line) Run(ns *netlab.Namespace) (took time.Duration, err error) {
	err = ns.Do(func() error {
		took, err = l.Offer()
		return err
	})
	return took, err
}

// Offer is Run in the namespace of the calling thread, to which the caller's goroutine is locked. The thread stays
// pinned to CPU.
func (l Line) Offer() (time.Duration, error) {
	if l.CPU >= 0 {
		var set unix.CPUSet
		set.Set(l.CPU)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return 0, fmt.Errorf("pin to core %d: %w", l.CPU, err)
		}
	}
	took, err := l.offer()
	if err != nil {
		return took, fmt.Errorf("offer packets to %s: %w", l.Interface, err)
	}
	return took, nil
}

func (l Line) offer() (time.Duration, error) {
	ifi, err := net.InterfaceByName(l.Interface)
	if err != nil {
		return 0, err
	}
	frame := l.frame()
	state, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: stateSize, MaxEntries: 1})
	if err != nil {
		return 0, fmt.Errorf("make map: %w", err)
	}
	defer state.Close()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: l.program(state.FD(), frame)})
	if err != nil {
		return 0, fmt.Errorf("load program: %w", err)
	}
	defer prog.Close()
	s := lineState{Remaining: l.Count}
	if l.Rate > 0 {
		s.Interval = uint64(1e9 / l.Rate)
	}
	if err := state.Put(uint32(0), s); err != nil {
		return 0, err
	}
	type metadata struct{ Data, DataEnd, DataMeta, Ifindex, Queue, Egress uint32 } // struct xdp_md
	run := &ebpf.RunOptions{
		Data: frame, Context: metadata{DataEnd: uint32(len(frame)), Ifindex: uint32(ifi.Index)},
		Repeat: attempts, Flags: liveFrames, BatchSize: 64,
	}
	began := time.Now()
	for s.Remaining > 0 {
		if _, err := prog.Run(run); err != nil {
			return time.Since(began), err
		}
		if err := state.Lookup(uint32(0), &s); err != nil {
			return time.Since(began), err
		}
	}
	return time.Since(began), nil
}

// frame is the packet that is copied.
func (l Line) frame() []byte {
	s := l.Shape
	s.Size = max(s.Size, s.headers(), 60)
	return l.Plan.appendShape(nil, s, 0)
}

// program passes a frame when its time has come and frames remain, and drops it otherwise: a dropped frame costs about
// 0.2 µs, which makes waiting a loop in the kernel.
func (l Line) program(mapFD int, frame []byte) asm.Instructions {
	transport := int32(l.Shape.transport())
	const (
		next, interval, remaining = 0, 8, 16 // offsets in lineState
		data, dataEnd             = 0, 4     // in struct xdp_md
	)
	return asm.Instructions{
		asm.Mov.Reg(asm.R7, asm.R1),
		asm.LoadMapValue(asm.R6, mapFD, 0),
		asm.LoadMem(asm.R8, asm.R6, remaining, asm.DWord),
		asm.JEq.Imm(asm.R8, 0, "drop"),
		asm.FnKtimeGetNs.Call(),
		asm.LoadMem(asm.R1, asm.R6, next, asm.DWord),
		asm.JGT.Reg(asm.R1, asm.R0, "drop"),
		asm.Mov.Reg(asm.R2, asm.R0), // next = max(next, now-backlog) + interval
		asm.Sub.Imm(asm.R2, backlog),
		asm.JGE.Reg(asm.R1, asm.R2, "step"),
		asm.Mov.Reg(asm.R1, asm.R2),
		asm.LoadMem(asm.R3, asm.R6, interval, asm.DWord).WithSymbol("step"),
		asm.Add.Reg(asm.R1, asm.R3),
		asm.StoreMem(asm.R6, next, asm.R1, asm.DWord),
		asm.Sub.Imm(asm.R8, 1),
		asm.StoreMem(asm.R6, remaining, asm.R8, asm.DWord),
		asm.LoadMem(asm.R2, asm.R7, data, asm.Word),
		asm.LoadMem(asm.R3, asm.R7, dataEnd, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, transport+tcp),
		asm.JGT.Reg(asm.R4, asm.R3, "drop"), // never: for the verifier
		// The frame's memory is used again and again, and the stack has moved the addresses over a tag it took out.
		asm.LoadImm(asm.R1, int64(binary.NativeEndian.Uint64(frame)), asm.DWord),
		asm.StoreMem(asm.R2, 0, asm.R1, asm.DWord),
		asm.LoadImm(asm.R1, int64(binary.NativeEndian.Uint64(frame[8:])), asm.DWord),
		asm.StoreMem(asm.R2, 8, asm.R1, asm.DWord),
		asm.Add.Imm(asm.R2, transport),
		asm.Mov.Imm(asm.R1, firstPort),
		asm.StoreMem(asm.R2, 0, asm.R1, asm.Byte), // client port
		asm.StoreMem(asm.R2, 1, asm.R8, asm.Byte),
		asm.HostTo(asm.BE, asm.R8, asm.Word),      // clobbers the count, which is stored
		asm.StoreMem(asm.R2, 4, asm.R8, asm.Word), // sequence: the number's low half
		asm.Mov.Imm(asm.R0, xdpPass),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("drop"),
		asm.Return(),
	}
}
