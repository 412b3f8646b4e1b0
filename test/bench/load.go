package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/netlab"
	"github.com/ringside/ringside/test/ringside"
)

// load is a rate of packets of one size.
type load struct {
	size int
	rate float64
}

var measuredLoads = []load{{64, 1e6}, {1400, 400e3}}

// run is one subject's recording of one load.
type run struct {
	subject string
	load    load
	offered int64
	cpu     time.Duration
	stored  stored
	memory  ringside.Memory
	cached  int64
}

func (r run) perPacket() float64 { return float64(r.cpu.Nanoseconds()) / float64(r.stored.packets) }

// loads measures every subject on every load in alternation and prints the table.
func (b *bench) loads(out io.Writer) error {
	var runs []run
	for _, l := range measuredLoads {
		for round := range b.rounds {
			for _, name := range b.subjects {
				fmt.Fprintf(b.log, "%s, %.0f packets a second of %d bytes, round %d\n", name, l.rate, l.size, round+1)
				r, err := b.measure(name, l)
				if err != nil {
					return fmt.Errorf("%s at %d bytes: %w", name, l.size, err)
				}
				runs = append(runs, r)
			}
		}
	}
	return printLoads(out, runs)
}

func (b *bench) newSubject(name string) subject {
	switch name {
	case "ringside":
		return &ours{binary: b.binary, services: wholePackets, cores: b.cores}
	case "recording":
		return &ours{binary: b.binary, services: wholePackets, cores: b.cores, more: "detect: {enable: false}\n"}
	}
	return &theirs{}
}

// measure runs one subject. Processor time is taken from before the load until a second after its planned end, when
// nothing is left to do but what a ring or a chunk still holds.
func (b *bench) measure(name string, l load) (r run, err error) {
	r = run{subject: name, load: l, offered: int64(l.rate) * int64(b.seconds)}
	dir := filepath.Join(b.dir, "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	unix.Sync() // what an earlier run has left to be written is not this one's load
	ns, err := lab()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	s := b.newSubject(name)
	if err := s.start(ns, dir); err != nil {
		return r, err
	}
	if err := b.offer(ns, s, &r); err != nil {
		return r, errors.Join(err, s.stop())
	}
	if err := s.stop(); err != nil {
		return r, err
	}
	files, err := s.files()
	if err != nil {
		return r, err
	}
	if r.cached, err = ringside.Cached(files); err != nil { // before the files are read
		return r, err
	}
	r.stored, err = s.result()
	return r, err
}

// lab is a namespace with the veth v0, whose peer is in the same namespace: nothing else sends there.
func lab() (*netlab.Namespace, error) {
	ns, err := netlab.New()
	if err != nil {
		return nil, err
	}
	if err := ns.Veth("v0", ns, "v0peer"); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

func (b *bench) offer(ns *netlab.Namespace, s subject, r *run) error {
	line := loadgen.Line{
		Plan: loadgen.Plan{ID: 1, Port: 5432}, Shape: loadgen.Shape{Size: r.load.size}, Interface: "v0",
		Count: uint64(r.offered), Rate: r.load.rate, CPU: loadCore,
	}
	before, err := ringside.CPUOf(s.pid())
	if err != nil {
		return err
	}
	end := time.After(time.Duration(b.seconds+1) * time.Second)
	offered := make(chan error, 1)
	go func() {
		_, err := line.Run(ns)
		offered <- err
	}()
	<-end
	after, err := ringside.CPUOf(s.pid())
	if err := errors.Join(err, <-offered); err != nil {
		return err
	}
	r.cpu = after - before
	r.memory, err = ringside.MemoryOf(s.pid())
	return err
}
