// Bench measures what recording costs, against tcpdump on the same load in the same run, and prints the tables of
// docs/performance.md. Each subject records on core 0; the load comes from core 1. It needs root, two cores, tcpdump,
// redis-server and redis-benchmark, about 12 GB of disk, and less than five minutes.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/test/ringside"
)

// bench is what all measurements share.
type bench struct {
	dir      string // scratch, on the file system under test
	binary   string
	subjects []string
	cores    string // of Ringside
	seconds  int
	rounds   int
	idle     time.Duration
	redis    int
	log      io.Writer // progress
}

func main() {
	b := &bench{log: os.Stderr}
	dir := flag.String("dir", "", "`directory` to record into (default: the temporary directory)")
	only := flag.String("only", "", "one of load, idle, redis (default: all)")
	subjects := flag.String("subjects", "ringside,recording,tcpdump", "who records the loads; recording is Ringside without detection")
	flag.StringVar(&b.cores, "cores", recorderCore, "cores that Ringside may use, as taskset has them; the load has core 1")
	flag.IntVar(&b.seconds, "seconds", 8, "length of each load in seconds")
	flag.IntVar(&b.rounds, "rounds", 2, "times that each subject records each load")
	flag.DurationVar(&b.idle, "idle", 30*time.Second, "how long to watch an idle recorder")
	flag.IntVar(&b.redis, "redis", 5, "pairs of redis-benchmark runs")
	flag.Parse()
	b.subjects = strings.Split(*subjects, ",")
	if err := b.run(*dir, *only, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(dir, only string, out io.Writer) (err error) {
	if b.dir, err = os.MkdirTemp(dir, "rsb"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.binary = filepath.Join(b.dir, "ringside")
	if only != "load" || slices.ContainsFunc(b.subjects, func(s string) bool { return s != "tcpdump" }) {
		if err := ringside.Build(b.binary, ""); err != nil {
			return err
		}
	}
	machine, err := describeMachine(b.dir)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, machine)
	for _, part := range []struct {
		name string
		run  func(io.Writer) error
	}{{"load", b.loads}, {"idle", b.idles}, {"redis", b.workload}} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.run(out); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}
