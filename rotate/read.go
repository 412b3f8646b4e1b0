package rotate

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/pcapng"
)

// maxChunk bounds what is read and walked at once, in bytes.
const maxChunk = pcapng.ChunkSize

// segmentFile reads a segment without leaving its pages in the page cache: with O_DIRECT where that is to be had, and by
// dropping what was read, for a file system may accept O_DIRECT and read through the cache all the same. It is owned by one goroutine.
type segmentFile struct {
	io.ReaderAt
	io.Closer
	size   int64
	forget func(off int64, n int) // drops what was read from the page cache
	buffer func() error           // ends O_DIRECT, nil without it
	buf    []byte                 // page-aligned; one chunk and the pages at both its ends
}

// openSegment opens a segment's file for reading. buf is a buffer from readBuffer.
func openSegment(path string, buf []byte) (*segmentFile, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	direct := err == nil
	if errors.Is(err, unix.EINVAL) {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	s := &segmentFile{ReaderAt: f, Closer: f, size: st.Size(), buf: buf}
	s.forget = func(off int64, n int) { _ = unix.Fadvise(int(f.Fd()), off, int64(n), unix.FADV_DONTNEED) }
	if direct {
		s.buffer = func() error {
			_, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, 0)
			return err
		}
	}
	return s, nil
}

func readBuffer() ([]byte, error) { return mapMemory(maxChunk + 2*pcapng.PageSize) }
func freeBuffer(b []byte)         { _ = unix.Munmap(b) }

// view returns up to n bytes at off, fewer only at the file's end; n is at most maxChunk. The slice is valid until the
// next call and may be changed.
func (s *segmentFile) view(off int64, n int) ([]byte, error) {
	start := off &^ (pcapng.PageSize - 1)
	lead := int(off - start)
	want := (lead + min(n, maxChunk) + pcapng.PageSize - 1) &^ (pcapng.PageSize - 1)
	got, err := s.ReadAt(s.buf[:want], start)
	if got == 0 && errors.Is(err, unix.EINVAL) && s.buffer != nil && s.buffer() == nil { // refused only now
		s.buffer = nil
		got, err = s.ReadAt(s.buf[:want], start)
	}
	if s.forget != nil {
		s.forget(start, want)
	}
	// After the short read at the end of a torn file, its odd rest may be refused instead of being reported as the end.
	if err != nil && !errors.Is(err, io.EOF) && !(got > 0 && errors.Is(err, unix.EINVAL)) {
		return nil, fmt.Errorf("read at %d: %w", start, err)
	}
	return s.buf[min(lead, got):min(lead+n, got)], nil
}

// stream reads a segment from an offset to its end.
type stream struct {
	f   *segmentFile
	off int64
}

func (r *stream) Read(p []byte) (int, error) {
	b, err := r.f.view(r.off, len(p))
	if err != nil {
		return 0, err
	}
	n := copy(p, b)
	r.off += int64(n)
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// eachBlock calls f for every block of r.
func eachBlock(r io.Reader, f func(pcapng.Block) error) error {
	w := pcapng.NewWalker(r)
	for {
		b, err := w.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("at offset %d: %w", w.Offset(), err)
		}
		if err := f(b); err != nil {
			return err
		}
	}
}

// storedPacket decodes a packet of a section with so many interfaces. It refuses what would make other tools refuse the
// whole file.
func storedPacket(b pcapng.Block, interfaces int) (pcapng.Packet, error) {
	p, err := b.Packet()
	if err == nil && (uint64(p.ID) >= uint64(interfaces) || len(p.Data) > pcapng.SnapLen) {
		err = fmt.Errorf("%w: packet of %d bytes on interface %d of %d", pcapng.ErrTorn, len(p.Data), p.ID, interfaces)
	}
	return p, err
}
