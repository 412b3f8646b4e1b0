package proofs

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/netlab"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
)

// atOnce is how many parallel proofs run at the same time. They wait more than they compute, but for a machine of two
// cores more would be a load test of the machine.
const atOnce = "4"

// patience is how long a condition is waited for. A busy machine is slow, not wrong.
const patience = time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	ringside.Main(m)
}

// full says whether the proofs run at full length.
func full() bool { return os.Getenv("RINGSIDE_PROOFS") == "1" }

// pick is quick or, at full length, long.
func pick[T any](quick, long T) T {
	if full() {
		return long
	}
	return quick
}

// need skips the test where a tool is missing.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (make tools)", tool)
		}
	}
}

// site is a node and a place beyond its interfaces: the peers of the node's veths.
type site struct{ node, pods *netlab.Namespace }

func newSite(t *testing.T, interfaces ...string) site {
	t.Helper()
	s := site{netlab.Test(t), netlab.Test(t)}
	for _, name := range interfaces {
		s.add(t, name)
	}
	return s
}

// peer is the name of the other end of a node's interface.
func peer(name string) string { return "p-" + name }

func (s site) add(t *testing.T, name string) {
	t.Helper()
	if err := s.node.Veth(name, s.pods, peer(name)); err != nil {
		t.Fatal(err)
	}
}

// inbound sends a plan through an interface's peer, so that the node receives it.
func (s site) inbound(t *testing.T, name string, p loadgen.Plan) *loadgen.Sender {
	t.Helper()
	return sender(t, s.pods, peer(name), p)
}

// outbound sends a plan through the node's own end.
func (s site) outbound(t *testing.T, name string, p loadgen.Plan) *loadgen.Sender {
	t.Helper()
	return sender(t, s.node, name, p)
}

func sender(t *testing.T, ns *netlab.Namespace, ifname string, p loadgen.Plan) *loadgen.Sender {
	t.Helper()
	s, err := loadgen.NewSender(ns, ifname, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// send sends count packets and fails the test if it cannot.
func send(t *testing.T, s *loadgen.Sender, count int, rate float64) {
	t.Helper()
	if err := s.Send(t.Context(), count, rate); err != nil {
		t.Error(err)
	}
}

// steady sends until the returned function is called, which returns when the last packet is out.
func steady(t *testing.T, s *loadgen.Sender, rate float64) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Send(ctx, 1<<30, rate) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// brake holds senders back while the machine leaves their recorder no time: of all that they send, about ahead packets at
// most are not read from the rings. So nothing is dropped, however slow the machine is, as long as so many fit into a ring.
type brake struct {
	*ringside.Recorder
	mu         sync.Mutex
	sent, read int
}

const ahead = 20_000

// send sends count packets, and waits after every few hundred. One call a sender at a time.
func (b *brake) send(t *testing.T, s *loadgen.Sender, count int, rate float64) error {
	const step = 500
	for ; count > 0; count -= step {
		n := min(step, count)
		if err := errors.Join(s.Send(t.Context(), n, rate), b.wait(n)); err != nil {
			return err
		}
	}
	return nil
}

func (b *brake) wait(n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent += n
	return b.Until(patience, "reading", func() bool {
		if b.sent-b.read <= ahead {
			return true
		}
		if m, err := b.Metrics(); err == nil {
			received, _ := m.Sum(receivedMetric)
			dropped, _ := m.Sum(droppedMetric)
			b.read = int(received + dropped)
		}
		return b.sent-b.read <= ahead
	})
}

// readAll reads files with tshark into the ledger, and holds the counts of tcpdump and capinfos against tshark's.
// Files are read two at a time.
func readAll(t *testing.T, l *readback.Ledger, files []string) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	turns := make(chan struct{}, 2)
	for _, file := range files {
		wg.Add(1)
		turns <- struct{}{}
		go func() {
			defer func() { <-turns; wg.Done() }()
			n := 0
			err := readback.Tshark(file, func(p readback.Packet) {
				n++
				mu.Lock()
				defer mu.Unlock()
				l.Add(p)
			})
			dumped, err1 := readback.Tcpdump(file)
			counted, err2 := readback.Capinfos(file)
			if err := errors.Join(err, err1, err2); err != nil || dumped != n || counted != n {
				t.Errorf("%s: tshark reads %d packets, tcpdump %d, capinfos %d: %v", filepath.Base(file), n, dumped, counted, err)
			}
		}()
	}
	wg.Wait()
}

// sealed returns the sealed segments of a recorder that has stopped, and fails if any is still open.
func sealed(t *testing.T, r *ringside.Recorder) []string {
	t.Helper()
	files, open, err := r.Segments()
	if err != nil || len(open) > 0 {
		t.Fatalf("segments left open: %v, %v", open, err)
	}
	return files
}

// ledgerOf reads the whole spool of a stopped recorder.
func ledgerOf(t *testing.T, r *ringside.Recorder, sources ...readback.Source) *readback.Ledger {
	t.Helper()
	l := readback.NewLedger(sources...)
	readAll(t, l, sealed(t, r))
	return l
}

// exact fails unless the ledger has every packet of each sender exactly once and as sent, and nothing else.
func exact(t *testing.T, l *readback.Ledger, senders ...*loadgen.Sender) {
	t.Helper()
	sane(t, l)
	total := 0
	for _, s := range senders {
		total += s.Count()
		if missing := l.Missing(s.ID, s.Count()); len(missing) > 0 {
			t.Errorf("%s plan %d: %d of %d packets read, missing %v", s.Interface, s.ID, l.Seen(s.ID), s.Count(), missing[:min(10, len(missing))])
		}
	}
	t.Logf("sent %d, read %d, repeated %d, not as sent %d", total, l.Packets, l.Repeated(), l.Wrong)
}

// sane fails if the ledger has a packet twice, one that nobody sent, or one that is not as it was sent.
func sane(t *testing.T, l *readback.Ledger) {
	t.Helper()
	if l.Foreign != 0 || l.Wrong != 0 || l.Repeated() != 0 {
		t.Errorf("%d packets are nobody's, %d not as sent, %d repeated: %s", l.Foreign, l.Wrong, l.Repeated(), strings.Join(l.Problems, "; "))
	}
}

// metrics asks the recorder and fails the test if it does not answer.
func metrics(t *testing.T, r *ringside.Recorder) ringside.Metrics {
	t.Helper()
	m, err := r.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sum is the value of a metric over all its labels; the metric must exist.
func sum(t *testing.T, m ringside.Metrics, name string) int {
	t.Helper()
	v, ok := m.Sum(name)
	if !ok {
		t.Fatalf("no metric %s", name)
	}
	return int(v)
}

const (
	receivedMetric  = "ringside_capture_ring_received_packets_total" // also of interfaces that are gone
	droppedMetric   = "ringside_capture_dropped_packets_total"
	unwrittenMetric = "ringside_spool_unwritten_packets_total"
	writtenMetric   = "ringside_spool_written_packets_total"
)

// settled waits until the recorder has written as many packets as it says it received, and a second's worth of nothing.
func settled(t *testing.T, r *ringside.Recorder, packets int) {
	t.Helper()
	err := r.Until(patience, fmt.Sprintf("done with %d packets", packets), func() bool {
		m, err := r.Metrics()
		if err != nil {
			return false
		}
		written, _ := m.Sum(writtenMetric)
		dropped, _ := m.Sum(droppedMetric)
		unwritten, _ := m.Sum(unwrittenMetric)
		return int(written+dropped+unwritten) >= packets
	})
	if err != nil {
		t.Error(err)
	}
}

// notes returns the notes of one kind in files, in order, without repetitions.
func notes(t *testing.T, files []string, kind string) (found []pcapng.Note) {
	t.Helper()
	seen := make(map[pcapng.Note]bool)
	for _, file := range files {
		walk(t, file, func(b pcapng.Block) {
			if n, err := b.Note(); err == nil && n.Kind == kind && !seen[n] {
				seen[n] = true
				found = append(found, n)
			}
		})
	}
	return found
}

func walk(t *testing.T, file string, each func(pcapng.Block)) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapng.NewWalker(f)
	for {
		b, err := w.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("%s at %d: %v", file, w.Offset(), err)
		}
		each(b)
	}
}

// state is what /readyz says of an interface.
type state struct{ Name, State, Why, Ring string }

// interfaces asks /readyz.
func interfaces(t *testing.T, r *ringside.Recorder) (ready bool, found map[string]state) {
	t.Helper()
	_, body, err := r.Get("/readyz?verbose&format=json")
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Ready      bool
		Interfaces []state
	}
	if err := json.Unmarshal([]byte(body), &report); err != nil {
		t.Fatalf("readyz: %v: %s", err, body)
	}
	found = make(map[string]state)
	for _, s := range report.Interfaces {
		found[s.Name] = s
	}
	return report.Ready, found
}

// awaitState waits until an interface is in a state.
func awaitState(t *testing.T, r *ringside.Recorder, ifname, want string) {
	t.Helper()
	var last map[string]state
	err := r.Until(patience, ifname+" "+want, func() bool {
		_, last = interfaces(t, r)
		return last[ifname].State == want
	})
	if err != nil {
		t.Fatalf("%v; interfaces: %+v", err, last)
	}
}

// ms writes a time in ns since 1970 for a log.
func ms(ns int64) string { return strconv.FormatFloat(float64(ns%1e12)/1e6, 'f', 3, 64) }
