// Loadgen hands TCP segments to one interface's receive path at a steady rate. Run it in a namespace of its own:
// "ip netns exec NAME loadgen -i IF".
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/ringside/ringside/test/loadgen"
)

func main() {
	l := loadgen.Line{CPU: -1}
	flag.StringVar(&l.Interface, "i", "", "`interface` to offer frames to; its peer must be up")
	flag.Uint64Var(&l.Count, "n", 1_000_000, "frames")
	flag.IntVar(&l.Shape.Size, "size", 64, "bytes a frame, without FCS")
	flag.Float64Var(&l.Rate, "pps", 0, "frames a second, 0: as fast as possible")
	flag.IntVar(&l.CPU, "cpu", -1, "core to run on, -1: any")
	flag.BoolVar(&l.Shape.V6, "6", false, "IPv6")
	port := flag.Uint("port", 5432, "TCP port of the service")
	vlan := flag.Uint("vlan", 0, "VLAN id, 0: untagged")
	flag.Parse()
	l.Plan.Port = uint16(*port)
	if *vlan != 0 {
		l.Shape.Tags = []uint16{uint16(*vlan)}
	}
	if err := run(l); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func run(l loadgen.Line) error {
	if l.Interface == "" {
		return errors.New("no interface: give -i NAME")
	}
	runtime.LockOSThread()
	took, err := l.Offer()
	if err != nil {
		return err
	}
	fmt.Printf("%d frames of %d bytes within %v\n", l.Count, l.Shape.Size, took.Round(time.Millisecond))
	return nil
}
