package traffic

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkFlows is what 300 connections with a request a second each cost, clients and server: cpu-% is of one core.
func BenchmarkFlows(b *testing.B) {
	s, err := Serve(Here{}, four, Behaviour{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Stop(Finish)
	p := Start(Here{}, Load{Server: s.Addr(), Flows: 300, Every: time.Second, New: 5, Request: 200, Answer: 1000})
	defer p.Stop(0)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		b.Fatal(err)
	}
	before, began := cpu(b), time.Now()
	for b.Loop() {
		time.Sleep(time.Second)
	}
	b.ReportMetric(100*float64(cpu(b)-before)/float64(time.Since(began)), "cpu-%")
}

func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
