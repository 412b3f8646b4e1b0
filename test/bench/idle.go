package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ringside/ringside/test/ringside"
)

// idles watches a recorder to which nothing comes.
func (b *bench) idles(out io.Writer) (err error) {
	dir := filepath.Join(b.dir, "idle")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ns, err := lab()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	s := &ours{binary: b.binary, services: "[postgres, redis, dns]", cores: b.cores}
	if err := s.start(ns, dir); err != nil {
		return err
	}
	fmt.Fprintf(b.log, "idle for %v\n", b.idle)
	time.Sleep(2 * time.Second) // the start is not idleness
	cpu, written, err := usage(s.pid())
	if err != nil {
		return errors.Join(err, s.stop())
	}
	began := time.Now()
	time.Sleep(b.idle)
	cpuAfter, writtenAfter, err := usage(s.pid())
	took := time.Since(began)
	memory, err2 := ringside.MemoryOf(s.pid())
	if err := errors.Join(err, err2, s.stop()); err != nil {
		return err
	}
	fmt.Fprintf(out, "Idle for %v with one interface: %.2f %% of a core, %.2f MB written to the disk a minute, %.0f MiB resident.\n\n",
		b.idle, share(cpuAfter-cpu, took), float64(writtenAfter-written)/1e6/took.Minutes(), float64(memory.Now)/mib)
	return nil
}

func usage(pid int) (cpu time.Duration, written int64, err error) {
	cpu, err = ringside.CPUOf(pid)
	if err != nil {
		return 0, 0, err
	}
	written, err = ringside.WrittenBy(pid)
	return cpu, written, err
}
