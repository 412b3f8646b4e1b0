package proofs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/trigger"
)

const (
	acceptedMetric = "ringside_trigger_accepted_total"
	refusedMetric  = "ringside_trigger_refused_total"
	loadCore       = 1 // of packets and triggers; the recorder has the other one
)

// storm is a flood of triggers while packets come.
type storm struct {
	triggers float64 // a second, half of them over the socket, half over TCP
	packets  float64 // a second, at least: a third more is offered, because the callers take their part of the load's core
	lasts    time.Duration
}

// TestTriggerStorm sends far more triggers than are looked at, each with a reason of its own, while packets come at a high
// rate: the recorder does not grow, every trigger and every packet is accounted for, and no packet is lost unless others
// took the recorder's core.
func TestTriggerStorm(t *testing.T) {
	need(t, "taskset")
	if runtime.NumCPU() <= loadCore {
		t.Skip("needs two cores: one for the recorder, one for the load")
	}
	c := storm{triggers: 10_000, packets: 300_000, lasts: pick(2*time.Second, 10*time.Second)}
	s, dir := newSite(t, "v0"), ringside.Dir(t)
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Dir: dir, Services: services, Interfaces: "[v0]",
		More: "upload: {to: \"file://" + dir + "/store\"}", Prefix: []string{"taskset", "-c", "0"},
	})
	callers := []*caller{dialCaller(t, r, trigger.SourceSocket), dialCaller(t, r, trigger.SourceHTTP)}
	line := loadgen.Line{
		Plan: loadgen.Plan{ID: 1, Port: headersPort}, Shape: loadgen.Shape{Size: 64}, Interface: "v0",
		Count: uint64(c.packets * 4 / 3 * c.lasts.Seconds()), Rate: c.packets * 4 / 3, CPU: loadCore,
	}
	var wg sync.WaitGroup
	var took time.Duration
	began := time.Now()
	others := takenByOthers(t, r)
	wg.Go(func() {
		var err error
		if took, err = line.Run(s.node); err != nil {
			t.Error(err)
		}
	})
	for _, each := range callers {
		wg.Go(func() { each.read(t) })
		wg.Go(func() { each.write(t, c.triggers/float64(len(callers)), c.lasts) })
	}
	wg.Wait()
	answered := time.Since(began)
	settled(t, r, int(line.Count))
	others = takenByOthers(t, r) - others
	busy := others > time.Since(began)/20
	m := metrics(t, r)
	memory, err := ringside.MemoryOf(r.Pid())
	cpu, err2 := ringside.CPUOf(r.Pid())
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	accountFor(t, r, m, callers)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	dropped, unwritten, written := sum(t, m, droppedMetric), sum(t, m, unwrittenMetric), sum(t, m, writtenMetric)
	if written+dropped+unwritten != int(line.Count) || dropped+unwritten != 0 && !busy {
		t.Errorf("of %d packets %d were written, %d dropped and %d not written, want all written; others had the recorder's core for %v",
			line.Count, written, dropped, unwritten, others)
	}
	const limit = 128 << 20
	if memory.Peak > limit {
		t.Errorf("%d MiB resident, want at most ring + 64 MiB = %d MiB", memory.Peak>>20, limit>>20)
	}
	packets, triggers := float64(line.Count)/took.Seconds(), 0.0
	for _, each := range callers {
		triggers += float64(each.sent) / each.took.Seconds()
	}
	t.Logf("%d packets at %.0f a second, %d dropped, %d unwritten; %d triggers at %.0f a second, all answered within %v; "+
		"%v of processor time, %v of the same core by others, resident at most %d MiB",
		line.Count, packets, dropped, unwritten, callers[0].sent+callers[1].sent, triggers, answered.Round(time.Millisecond), cpu.Round(time.Millisecond), others.Round(time.Millisecond), memory.Peak>>20)
	if packets < c.packets || triggers < 0.99*c.triggers {
		t.Logf("this is less than the %.0f packets and %.0f triggers a second that were meant: the machine is busy", c.packets, c.triggers)
	}
}

// takenByOthers is for how long anything but the recorder has used its core since the machine's start.
func takenByOthers(t *testing.T, r *ringside.Recorder) time.Duration {
	t.Helper()
	const tick = time.Second / 100 // USER_HZ
	own, err := ringside.CPUOf(r.Pid())
	text, err2 := os.ReadFile("/proc/stat")
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	_, line, _ := strings.Cut(string(text), "\ncpu0 ")
	line, _, _ = strings.Cut(line, "\n")
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	if _, err := fmt.Sscan(line, &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		t.Fatalf("/proc/stat: %v: %q", err, line)
	}
	return time.Duration(user+nice+system+irq+softirq+steal)*tick - own
}

// accountFor holds what the callers saw against the recorder's own account: metrics, suppressed lines and incidents.
func accountFor(t *testing.T, r *ringside.Recorder, m ringside.Metrics, callers []*caller) {
	t.Helper()
	status, body, err := r.Get("/v1/incidents?local&suppressed&limit=1000")
	var list api.Incidents
	if err == nil {
		err = json.Unmarshal([]byte(body), &list)
	}
	if err != nil || status != http.StatusOK {
		t.Fatalf("incidents: %d, %v", status, err)
	}
	suppressed := make(map[string]int)
	for _, s := range list.Suppressed {
		suppressed[s.Source] += int(s.Count)
	}
	kept := make(map[string]bool)
	for _, i := range list.Incidents {
		for _, trig := range i.Local.Triggers {
			kept[trig.ID] = true
		}
	}
	promised := 0
	for _, c := range callers {
		refused := 0
		for _, n := range c.refused {
			refused += n
		}
		accepted := int(m[fmt.Sprintf("%s{source=%q}", acceptedMetric, c.source)])
		counted := 0
		for kind := range maps.Keys(c.kinds) {
			n := int(m[fmt.Sprintf("%s{kind=%q,source=%q}", refusedMetric, kind, c.source)])
			if counted += n; n != c.kinds[kind] {
				t.Errorf("%s: %d answers said %s, the metric %d", c.source, c.kinds[kind], kind, n)
			}
		}
		t.Logf("%s: %d sent, %d accepted, refused by status %v, by kind %v", c.source, c.sent, len(c.accepted), c.refused, c.kinds)
		if len(c.accepted) == 0 || len(c.accepted)+refused != c.sent || accepted != len(c.accepted) || counted != refused || suppressed[c.source] != refused {
			t.Errorf("%s: sent %d, answers %d accepted + %d refused; metrics %d + %d; suppressed lines %d",
				c.source, c.sent, len(c.accepted), refused, accepted, counted, suppressed[c.source])
		}
		for _, id := range c.accepted {
			if promised++; !kept[id] {
				t.Errorf("%s: %s was accepted and belongs to no incident", c.source, id)
			}
		}
	}
	if promised != len(kept) {
		t.Errorf("%d triggers were accepted, the incidents have %d", promised, len(kept))
	}
}

// caller is one connection that sends triggers without waiting for answers.
type caller struct {
	source string
	conn   net.Conn

	sent     int            // by write
	took     time.Duration  // by write
	accepted []string       // by read: ids
	refused  map[int]int    // by read: answers by status
	kinds    map[string]int // by read: the same answers by kind
}

func dialCaller(t *testing.T, r *ringside.Recorder, source string) *caller {
	t.Helper()
	conn := dial(t, r, source)
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &caller{source: source, conn: conn, refused: map[int]int{}, kinds: map[string]int{}}
}

// dial connects to the recorder's socket, or to its loopback port. The connection is closed with the test.
func dial(t *testing.T, r *ringside.Recorder, source string) (conn net.Conn) {
	t.Helper()
	err := r.Namespace.Do(func() (err error) {
		if source == trigger.SourceSocket {
			conn, err = net.Dial("unix", filepath.Join(r.Dir, "sock"))
		} else {
			conn, err = net.Dial("tcp", "127.0.0.1:9409")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// onLoadCore binds the calling goroutine to the core of the load; its thread ends with it.
func onLoadCore(t *testing.T) {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(loadCore)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		t.Error(err)
	}
}

// write sends at a steady rate. After the last request the recorder closes the connection.
func (c *caller) write(t *testing.T, rate float64, lasts time.Duration) {
	onLoadCore(t)
	began := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var batch []byte
	for passed := time.Duration(0); passed < lasts; {
		<-tick.C
		passed = min(time.Since(began), lasts)
		batch = batch[:0]
		for ; c.sent < int(rate*passed.Seconds()); c.sent++ {
			batch = c.request(batch, "")
		}
		if _, err := c.conn.Write(batch); err != nil {
			t.Errorf("%s: after %d triggers: %v", c.source, c.sent, err)
			return
		}
	}
	c.took = time.Since(began)
	c.sent++
	if _, err := c.conn.Write(c.request(batch[:0], "Connection: close\r\n")); err != nil {
		t.Errorf("%s: the last trigger: %v", c.source, err)
	}
}

func (c *caller) request(dst []byte, headers string) []byte {
	body := fmt.Sprintf(`{"reason": "storm %08d"}`, c.sent)
	return fmt.Appendf(dst, "POST /v1/triggers HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s", headers, len(body), body)
}

// read counts answers until the recorder closes the connection. It takes them apart itself: a client of net/http would
// need more of the load's core than the load.
func (c *caller) read(t *testing.T) {
	onLoadCore(t)
	in := bufio.NewReaderSize(c.conn, 64<<10)
	for {
		status, size, err := readHead(in)
		if err == io.EOF {
			return
		}
		var body []byte
		if err == nil {
			body, err = in.Peek(size)
		}
		if err != nil || size == 0 {
			t.Errorf("%s: an answer of %d bytes with status %d: %v", c.source, size, status, err)
			return
		}
		if status == http.StatusAccepted {
			c.accepted = append(c.accepted, member(body, "id"))
		} else {
			c.refused[status]++
			c.kinds[member(body, "kind")]++
		}
		_, _ = in.Discard(size) // it is there
	}
}

// readHead reads an answer's status and the size of its body. The error is io.EOF where no answer begins.
func readHead(in *bufio.Reader) (status, size int, err error) {
	line, err := in.ReadSlice('\n')
	if err == io.EOF && len(line) > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil || len(line) < len("HTTP/1.1 200") {
		return 0, 0, err
	}
	status, err = strconv.Atoi(string(line[9:12]))
	for err == nil {
		if line, err = in.ReadSlice('\n'); len(line) <= len("\r\n") {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			size, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	return status, size, err
}

// member is the text of a member of a JSON object that has it.
func member(body []byte, key string) string {
	_, rest, _ := bytes.Cut(body, []byte(`"`+key+`": "`))
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(text)
}
