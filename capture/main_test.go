package capture

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/ringside/ringside/pcapng"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const inNamespace = "RINGSIDE_TEST_NAMESPACE"

// TestMain runs the tests in a network namespace of their own: sockets are opened by whatever thread a goroutine runs on,
// so the whole process must be in it.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) == "" && os.Geteuid() == 0 {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
		if err := cmd.Run(); err != nil {
			if exit, ok := err.(*exec.ExitError); ok {
				os.Exit(exit.ExitCode())
			}
			panic(err)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// needNamespace skips a test that needs root.
func needNamespace(t *testing.T) {
	t.Helper()
	if os.Getenv(inNamespace) == "" {
		t.Skip("needs root, to make a network namespace and packet sockets (CAP_SYS_ADMIN, CAP_NET_RAW)")
	}
}

// memory is a Sink that keeps the blocks of all chunks.
type memory struct {
	mu        sync.Mutex
	free      chan *pcapng.Chunk
	summaries []pcapng.Summary
	packets   []kept
	notes     []pcapng.Note
	table     *pcapng.Table // of the last chunk
	changed   chan struct{} // gets a value, if it has room, when something is added
}

// kept is a packet with its interface.
type kept struct {
	pcapng.Packet
	iface string
	ring  string
}

func newMemory(chunks int) *memory {
	m := &memory{free: make(chan *pcapng.Chunk, chunks), changed: make(chan struct{}, 1)}
	for range chunks {
		m.free <- pcapng.NewChunk(make([]byte, pcapng.ChunkSize))
	}
	return m
}

func (m *memory) Get(ctx context.Context) (*pcapng.Chunk, error) {
	select {
	case c := <-m.free:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *memory) Put(c *pcapng.Chunk) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table = c.Table
	names := c.Table.Interfaces()
	b := c.Close(func(pcapng.Count) (uint64, uint64) { return 0, 0 })
	for len(b) > 0 {
		blk, err := pcapng.Parse(b)
		if err != nil {
			panic(err)
		}
		if blk.Type == pcapng.TypePacket {
			p, err := blk.Packet()
			if err != nil {
				panic(err)
			}
			p.Data = slices.Clone(p.Data)
			m.packets = append(m.packets, kept{p, names[p.ID].Name, c.Summary.Ring})
		}
		b = b[len(blk.Raw):]
	}
	s := c.Summary
	s.Counts = slices.Clone(s.Counts)
	m.summaries = append(m.summaries, s)
	m.notes = append(m.notes, c.Notes...)
	m.free <- c
	m.signal()
}

func (m *memory) Note(n pcapng.Note) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notes = append(m.notes, n)
	m.signal()
}

func (m *memory) signal() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}
