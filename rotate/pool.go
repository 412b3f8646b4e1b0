package rotate

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/pcapng"
)

// poolChunks is how many chunks there are; with pcapng.ChunkSize it is the memory between the rings and the disk.
const poolChunks = 32

// pool is a fixed number of chunks over one anonymous mapping. The chunk freed last is given out first, so that the
// memory in use stays small and warm. All methods may be called concurrently.
type pool struct {
	tokens chan struct{} // one for each free chunk
	mu     sync.Mutex
	free   []*pcapng.Chunk
	memory []byte
}

func newPool() (*pool, error) {
	memory, err := mapMemory(poolChunks * pcapng.ChunkSize)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(memory, unix.MADV_HUGEPAGE) // only makes it faster
	p := &pool{tokens: make(chan struct{}, poolChunks), memory: memory}
	for i := range poolChunks {
		p.put(pcapng.NewChunk(memory[i*pcapng.ChunkSize : (i+1)*pcapng.ChunkSize : (i+1)*pcapng.ChunkSize]))
	}
	return p, nil
}

// get returns a free chunk and waits for one; it fails only when ctx is done.
func (p *pool) get(ctx context.Context) (*pcapng.Chunk, error) {
	select {
	case <-p.tokens:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return c, nil
}

func (p *pool) put(c *pcapng.Chunk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, c)
	p.tokens <- struct{}{} // has room: there are never more tokens than free chunks
}

// close unmaps the memory if every chunk is back and none is just being taken. Otherwise it leaves it, for somebody may
// still write to it. It never waits.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.memory == nil || len(p.free) < poolChunks {
		return
	}
	for n := range poolChunks {
		select {
		case <-p.tokens: // whoever still asks for a chunk waits for ever, as while none is free
		default: // get has a token and waits for mu
			for range n {
				p.tokens <- struct{}{}
			}
			return
		}
	}
	_ = unix.Munmap(p.memory)
	p.memory, p.free = nil, nil
}

// mapMemory returns n bytes of page-aligned zeroed memory outside the Go heap.
func mapMemory(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("cannot map %d KiB of memory: %w: raise the memory limit", n>>10, err)
	}
	return b, nil
}
