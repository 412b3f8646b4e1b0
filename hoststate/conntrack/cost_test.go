package conntrack

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const asWatcher = "RINGSIDE_TEST_WATCHER"

// TestWatcherProcess is no test: it is the process whose cost TestCost measures. It writes a line for each line it reads.
func TestWatcherProcess(t *testing.T) {
	if os.Getenv(asWatcher) == "" {
		t.Skip("is run by TestCost")
	}
	m := newMemory()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- New(Config{Services: watched}).Run(ctx, m) }()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var use unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
			t.Fatal(err)
		}
		c := m.total(t)
		fmt.Printf("cost %d %d %d %d %d %d\n", use.Utime.Nano()+use.Stime.Nano(), use.Maxrss<<10, c.New, c.Destroy, len(m.of("conntrack.gap")), len(m.of("conntrack.burst")))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// cost is what the process says of itself.
type cost struct {
	cpu               time.Duration
	rss               int64
	made, gone        uint64
	gaps, burstEvents int
}

// TestCost measures 5,000 events a second and then a flush of 30,000 entries. Numbers of time are printed and not held
// against anything: the machine may be busy.
func TestCost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes fifteen seconds")
	}
	table := newTable(t)
	const flows, rate, seconds, step = 30000, 5000, 10, 20 * time.Millisecond
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestWatcherProcess$", "-test.v")
	cmd.Env = append(os.Environ(), asWatcher+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	measure := func() (c cost) {
		if _, err := io.WriteString(in, "\n"); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			if _, err := fmt.Sscanf(lines.Text(), "cost %d %d %d %d %d %d", &c.cpu, &c.rss, &c.made, &c.gone, &c.gaps, &c.burstEvents); err == nil {
				return c
			} else if strings.HasPrefix(lines.Text(), "cost") {
				t.Fatal(err)
			}
		}
		t.Fatal("the process ended")
		return c
	}
	until := func(what string, holds func(cost) bool) cost {
		for late := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
			if c := measure(); holds(c) {
				return c
			} else if time.Now().After(late) {
				t.Fatalf("waited in vain for %s: %+v", what, c)
			}
		}
	}
	made := 0
	until("the first event", func(c cost) bool { // it listens
		table.add(flowTo(other, 1<<20+made))
		made++
		return c.made > 0
	})
	table.flush()
	base := until("the first ones destroyed", func(c cost) bool { return c.gone >= c.made && c.made > 0 })
	table.add(flowsTo(database, flows)...)
	until("all made", func(c cost) bool { return c.made == base.made+flows })
	time.Sleep(2 * time.Second)

	before, begun := measure(), time.Now()
	churned := uint64(0)
	for n, at := 0, begun; time.Since(begun) < seconds*time.Second; n++ {
		var list []connection
		for i := range int(rate * step / time.Second / 2) {
			list = append(list, connection{n: n<<8 + i, server: cache, state: 7, status: StatusAssured, timeout: 120})
		}
		table.add(list...)
		for _, c := range list {
			table.remove(c)
		}
		churned += uint64(len(list))
		at = at.Add(step)
		time.Sleep(time.Until(at))
	}
	took := time.Since(begun)
	after := measure()
	events := after.made - before.made + after.gone - before.gone
	t.Logf("%.0f events/s beside %d entries: %.2f %% of a core, %.1f MiB", float64(events)/took.Seconds(), flows,
		100*(after.cpu-before.cpu).Seconds()/took.Seconds(), float64(after.rss)/(1<<20))

	after = until("the last ones destroyed", func(c cost) bool { return c.gone-before.gone == churned })
	flushed := time.Now()
	table.flush()
	t.Logf("the kernel flushed %d entries in %v", flows, time.Since(flushed).Round(time.Millisecond))
	end := until("the flush", func(c cost) bool { return c.gone-after.gone >= flows && c.burstEvents > after.burstEvents+1 })
	if end.gone-after.gone != flows || end.gaps != 0 {
		t.Errorf("the flush of %d: counted %d, %d gaps", flows, end.gone-after.gone, end.gaps)
	}
	t.Logf("flush of %d: counted %d, %d gaps, %v of CPU, %.1f MiB", flows, end.gone-after.gone, end.gaps, end.cpu-after.cpu, float64(end.rss)/(1<<20))
	in.Close()
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
