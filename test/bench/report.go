package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

const mib = 1 << 20

// printLoads prints a row for every run and then the ratios of the medians.
func printLoads(out io.Writer, runs []run) error {
	fmt.Fprintln(out, "| load | subject | CPU s | ns a packet | stored of offered packets | dropped by the kernel | looked at (skipped) | packet bytes stored | file bytes | resident MiB (peak) | cached MiB |")
	fmt.Fprintln(out, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, r := range runs {
		fmt.Fprintf(out, "| %s | %s | %.2f | %.0f | %d of %d | %d | %d (%d) | %d | %d | %.0f (%.0f) | %.1f |\n",
			r.load, r.subject, r.cpu.Seconds(), r.perPacket(), r.stored.packets, r.offered, r.stored.dropped,
			r.stored.looked, r.stored.skipped, r.stored.bytes, r.stored.fileBytes, float64(r.memory.Now)/mib, float64(r.memory.Peak)/mib, float64(r.cached)/mib)
	}
	fmt.Fprintln(out)
	for _, l := range measuredLoads {
		for _, name := range []string{"ringside", "recording"} {
			us, them := medianCost(runs, l, name), medianCost(runs, l, "tcpdump")
			if us == 0 || them == 0 { // one of them was left out
				continue
			}
			fmt.Fprintf(out, "%s: %s %.0f against %.0f ns a packet captured, %.2f× of tcpdump (medians).\n\n", l, name, us, them, us/them)
		}
	}
	return nil
}

func (l load) String() string {
	return fmt.Sprintf("%.1f Mpps of %d B", l.rate/1e6, l.size)
}

func medianCost(runs []run, l load, subject string) float64 {
	var costs []float64
	for _, r := range runs {
		if r.load == l && r.subject == subject {
			costs = append(costs, r.perPacket())
		}
	}
	return median(costs)
}

// median is the middle value, or the mean of the two in the middle; 0 of nothing.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func share(part, whole time.Duration) float64 { return 100 * float64(part) / float64(whole) }
