package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringside/ringside/test/netlab"
)

// requests is how many each run of redis-benchmark makes: a few seconds.
const requests = "150000"

// answers are what redis-benchmark measured.
type answers struct{ perSecond, p99 float64 } // p99 in ms

// workload measures what a recorded workload pays: redis-benchmark in one namespace, redis-server in another, the veth
// between them recorded or not, in alternation.
func (b *bench) workload(out io.Writer) (err error) {
	node, err := netlab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	pod, err := netlab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pod.Close()) }()
	err = errors.Join(node.Veth("v0", pod, "eth0"), node.Address("v0", "10.9.0.1/24"), pod.Address("eth0", "10.9.0.2/24"))
	if err != nil {
		return err
	}
	server := exec.Command("redis-server", "--bind", "10.9.0.2", "--protected-mode", "no", "--save", "", "--dir", b.dir)
	if err := pod.Start(server); err != nil {
		return fmt.Errorf("start redis-server: %w (apt-get install redis-server)", err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait() // killed: its error says nothing
	}()
	if err := awaitRedis(node); err != nil {
		return err
	}
	with, without, packets, err := b.alternate(node)
	if err != nil {
		return err
	}
	printWorkload(out, with, without, packets)
	return nil
}

func awaitRedis(node *netlab.Namespace) (err error) {
	for range 100 {
		if _, err = node.Run("redis-cli", "-h", "10.9.0.2", "ping"); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// alternate runs the pairs; the one that begins changes from pair to pair.
func (b *bench) alternate(node *netlab.Namespace) (with, without []answers, packets int64, err error) {
	for pair := range b.redis {
		for half := range 2 {
			recorded := half == pair%2
			fmt.Fprintf(b.log, "redis-benchmark, pair %d, recorded: %v\n", pair+1, recorded)
			a, n, err := b.redisRun(node, recorded)
			if err != nil {
				return nil, nil, 0, err
			}
			if recorded {
				with, packets = append(with, a...), packets+n
			} else {
				without = append(without, a...)
			}
		}
	}
	return with, without, packets, nil
}

// redisRun measures once, and returns how many packets were recorded.
func (b *bench) redisRun(node *netlab.Namespace, recorded bool) (a []answers, packets int64, err error) {
	if recorded {
		dir := filepath.Join(b.dir, "redis")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, 0, err
		}
		defer os.RemoveAll(dir)
		s := &ours{binary: b.binary, services: "[redis]", cores: b.cores}
		if err := s.start(node, dir); err != nil {
			return nil, 0, err
		}
		defer func() {
			err = errors.Join(err, s.stop())
			var kept stored
			if err == nil {
				kept, err = s.result()
			}
			packets = kept.packets
		}()
	}
	text, err := node.Run("redis-benchmark", "-h", "10.9.0.2", "-t", "set,get", "-n", requests, "-c", "50", "-d", "100", "--csv")
	if err != nil {
		return nil, 0, err
	}
	a, err = parseAnswers(text)
	return a, 0, err
}

// parseAnswers reads redis-benchmark's CSV: test, rps, average, min, p50, p95, p99, max.
func parseAnswers(text string) (a []answers, err error) {
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if len(row) < 8 || row[0] == "test" {
			continue
		}
		rps, err1 := strconv.ParseFloat(row[1], 64)
		p99, err2 := strconv.ParseFloat(row[6], 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		a = append(a, answers{rps, p99})
	}
	if len(a) != 2 {
		return nil, fmt.Errorf("redis-benchmark: %d results, want SET and GET: %s", len(a), text)
	}
	return a, nil
}

func printWorkload(out io.Writer, with, without []answers, packets int64) {
	column := func(a []answers, get func(answers) float64) float64 {
		var v []float64
		for _, x := range a {
			v = append(v, get(x))
		}
		return median(v)
	}
	perSecond := func(a answers) float64 { return a.perSecond }
	p99 := func(a answers) float64 { return a.p99 }
	fmt.Fprintln(out, "| redis-benchmark, medians | requests a second | p99 ms |")
	fmt.Fprintln(out, "|---|--:|--:|")
	fmt.Fprintf(out, "| not recorded | %.0f | %.2f |\n", column(without, perSecond), column(without, p99))
	fmt.Fprintf(out, "| recorded (headers) | %.0f | %.2f |\n\n", column(with, perSecond), column(with, p99))
	var ratios []float64 // of neighbours in time: what else the machine does changes slowly
	for i := range with {
		ratios = append(ratios, with[i].perSecond/without[i].perSecond)
	}
	fmt.Fprintf(out, "Client, server and recorder share the machine's cores. %d SET and GET runs of %s requests each; %d packets recorded. "+
		"Requests a second, recorded against not recorded in the same pair: median %+.1f %%, from %+.1f to %+.1f %%.\n\n",
		len(with), requests, packets, change(median(ratios)), change(slices.Min(ratios)), change(slices.Max(ratios)))
}

func change(ratio float64) float64 { return 100 * (ratio - 1) }
