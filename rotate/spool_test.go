package rotate

import (
	"context"
	"encoding/binary"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/ringside/ringside/pcapng"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// frame is an Ethernet frame of size bytes that carries n.
func frame(n uint64, size int) []byte {
	b := make([]byte, max(size, 60))
	copy(b, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5") // a local experimental protocol
	binary.BigEndian.PutUint64(b[14:], n)
	return b
}

// recording is a spool whose Run runs, and a ring that the test plays.
type recording struct {
	*Spool
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
	table  *pcapng.Table
	to     map[string]int64 // covered, by ring
	n      uint64           // packets sent
}

func tables(names ...string) *pcapng.Table {
	t := new(pcapng.Table)
	for i, n := range names {
		t.Add(pcapng.Interface{Name: n, Index: i + 2})
	}
	return t
}

func record(t *testing.T, cfg Config) *recording {
	t.Helper()
	s, err := Open(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return run(t, s)
}

func run(t *testing.T, s *Spool) *recording {
	ctx, cancel := context.WithCancel(context.Background())
	r := &recording{Spool: s, t: t, cancel: cancel, done: make(chan error, 1), table: tables("eth0", "veth1"), to: map[string]int64{}}
	go func() { r.done <- s.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

// stop ends the recording as a clean shutdown does. It may be called twice.
func (r *recording) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
	if err := r.Close(); err != nil {
		r.t.Error(err)
	}
}

// chunk puts one chunk of ring with packets of size bytes, evenly from where the ring was to to.
func (r *recording) chunk(ring string, to int64, packets, size int, notes ...pcapng.Note) {
	r.t.Helper()
	c, err := r.Get(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	from, ok := r.to[ring]
	if !ok {
		from = to - int64(time.Second)
	}
	c.Reset(r.table, ring, from)
	id := uint32(0)
	if ring != "eth0" {
		id = 1
	}
	for i := range packets {
		b := frame(r.n, size)
		if c.Room() < pcapng.PacketSize(len(b)) {
			r.t.Fatal("chunk is full")
		}
		c.Packet(id, from+(to-from)*int64(i)/int64(packets), uint32(len(b)), pcapng.Inbound, nil, b)
		r.n++
	}
	for _, n := range notes {
		c.Note(n)
		c.Summary.Dropped += n.Packets
	}
	c.Summary.To = to
	r.to[ring] = to
	r.Put(c)
}

// written waits until n packets have been written or lost.
func (r *recording) written(n uint64) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		st := r.Stats()
		if st.WrittenPackets+st.UnwrittenPackets >= n {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%d packets written, want %d", st.WrittenPackets, n)
		}
	}
}

// capinfos returns the packet count that Wireshark's capinfos finds, which reads every packet.
func capinfos(t *testing.T, path string) string {
	t.Helper()
	if _, err := exec.LookPath("capinfos"); err != nil {
		t.Skip("capinfos is not installed (package wireshark-common)")
	}
	out, err := exec.Command("capinfos", "-TrcM", path).CombinedOutput()
	if err != nil {
		t.Fatalf("capinfos %s: %v\n%s", path, err, out)
	}
	f := strings.Fields(string(out))
	return f[len(f)-1]
}

func tcpdumpCount(t *testing.T, path string) int {
	t.Helper()
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("tcpdump is not installed")
	}
	out, err := exec.Command("tcpdump", "-nn", "-t", "-r", path).Output()
	if err != nil {
		t.Fatalf("tcpdump -r %s: %v", path, err)
	}
	return strings.Count(string(out), "0x88b5")
}

func TestOtherToolsReadLiveAndSealed(t *testing.T) {
	dir := t.TempDir()
	r := record(t, Config{Dir: dir, Keep: Keep{Free: 0.001}})
	base := time.Now().UnixNano()
	for i := range 10 {
		r.chunk("eth0", base+int64(i)*1e9, 100, 200)
		r.chunk("shared", base+int64(i)*1e9, 50, 1400)
	}
	r.written(1500)
	live, _ := filepath.Glob(filepath.Join(dir, "*.open"))
	if len(live) != 1 {
		t.Fatalf("live segments %v, want one", live)
	}
	check := func(path string) {
		t.Helper()
		if got := capinfos(t, path); got != "1500" {
			t.Errorf("capinfos finds %s packets in %s, want 1500", got, path)
		}
		if got := tcpdumpCount(t, path); got != 1500 {
			t.Errorf("tcpdump finds %d packets in %s, want 1500", got, path)
		}
	}
	check(live[0])
	r.stop()
	segments := r.Segments()
	if len(segments) != 1 || segments[0].State != StateSealed || segments[0].Packets != 1500 {
		t.Fatalf("segments %+v, want one sealed with 1500 packets", segments)
	}
	check(filepath.Join(dir, segments[0].Name))
	if fmt.Sprint(segments[0].Interfaces) != "2" {
		t.Errorf("%d interfaces, want 2", segments[0].Interfaces)
	}
}

// Closing the pool does not wait for whoever is just taking a chunk, nor takes the memory from under it.
func TestPoolCloseNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := newPool()
		must(t, err)
		<-p.tokens // get has come so far
		p.close()
		if p.memory == nil || len(p.tokens) != poolChunks-1 {
			t.Errorf("the memory is gone, or %d tokens are left, want %d", len(p.tokens), poolChunks-1)
		}
		p.tokens <- struct{}{}
		p.close()
		p.close()
		if p.memory != nil || len(p.tokens) != 0 {
			t.Errorf("the memory is still there, or %d tokens are left", len(p.tokens))
		}
	})
}
