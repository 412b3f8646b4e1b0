package input

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// Source is where a capture comes from.
type Source struct {
	Name string    // as citations have it; "" is the base name of Path
	Path string    // of a file; "-" is standard input
	In   io.Reader // instead of Path; it is read once and not closed
	Size int64     // of In in bytes, for Progress; 0: not known
}

// Files are sources for paths.
func Files(paths ...string) []Source {
	list := make([]Source, len(paths))
	for i, p := range paths {
		list[i].Path = p
	}
	return list
}

// name is the source's, as people are told.
func (s *Source) name() string {
	switch {
	case s.Name != "":
		return s.Name
	case s.Path == "-":
		return "standard input"
	}
	return filepath.Base(s.Path)
}

// where is the source as whoever named it did.
func (s *Source) where() string {
	if s.In == nil && s.Path != "-" {
		return s.Path
	}
	return s.name()
}

const (
	bufferSize = 256 << 10
	maxRecord  = 16 << 20  // bytes of a block that is read; nobody writes such, and memory is bounded
	maxMemory  = 128 << 20 // of a zstd window: --long=27, the most that zstd itself takes without being told
)

// stream is the plain bytes of a source, through a buffer that shows what is ahead. It is used by one goroutine.
type stream struct {
	r     io.Reader
	buf   []byte
	a, b  int   // unread bytes are buf[a:b]
	off   int64 // of buf[a] in the stream
	err   error // of r
	total int64 // bytes read of r
	sum   hash.Hash

	packed *counter // the source as it lies there
	size   int64    // of it, 0 if not known
	close  []func()
}

// counter counts what was read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// open opens a source and unpacks it.
func open(src *Source) (*stream, error) {
	s := &stream{sum: sha256.New(), size: src.Size, packed: &counter{r: src.In}}
	if src.In == nil {
		f, err := openFile(src.Path)
		if err != nil {
			return nil, err
		}
		if f != os.Stdin {
			s.close = append(s.close, func() { f.Close() })
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			s.size = info.Size()
		}
		s.packed.r = f
	}
	if err := s.unpack(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

var be = binary.BigEndian

func openFile(path string) (*os.File, error) {
	if path == "-" {
		return os.Stdin, nil
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return nil, errors.New("is a directory, not a capture: name the files in it")
	}
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// unpack finds out how the source is compressed, and puts the buffer over its plain bytes.
func (s *stream) unpack() error {
	s.r, s.buf = s.packed, make([]byte, bufferSize)
	head, err := s.peek(4)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	kind := compression(head)
	if kind == "" {
		return nil
	}
	rest := io.MultiReader(bytes.NewReader(bytes.Clone(s.buf[s.a:s.b])), s.packed)
	switch kind {
	case "gzip":
		z, err := gzip.NewReader(rest)
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		s.r = z
	case "zstd":
		z, err := zstd.NewReader(rest, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxMemory), zstd.WithDecoderLowmem(true))
		if err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
		s.r = z
		s.close = append(s.close, z.Close)
	default:
		return fmt.Errorf("is compressed with %s, which is not read: decompress it first", kind)
	}
	s.a, s.b, s.err, s.total = 0, 0, nil, 0
	s.sum.Reset()
	return nil
}

// compression tells how a stream is compressed, "" if it is not.
func compression(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x1F, 0x8B}):
		return "gzip"
	case bytes.HasPrefix(head, []byte{0x28, 0xB5, 0x2F, 0xFD}),
		len(head) == 4 && head[0]&0xF0 == 0x50 && bytes.Equal(head[1:], []byte{0x2A, 0x4D, 0x18}): // a skippable frame first
		return "zstd"
	case bytes.HasPrefix(head, []byte{0xFD, '7', 'z', 'X'}):
		return "xz"
	case bytes.HasPrefix(head, []byte("BZh")):
		return "bzip2"
	case bytes.HasPrefix(head, []byte{0x04, 0x22, 0x4D, 0x18}):
		return "lz4"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return "zip"
	}
	return ""
}

// peek returns the next n bytes, valid until the next call of anything. At the end it returns what is left, with io.EOF if that is
// nothing and io.ErrUnexpectedEOF if it is less than n.
func (s *stream) peek(n int) ([]byte, error) {
	if s.b-s.a >= n {
		return s.buf[s.a : s.a+n], nil
	}
	return s.more(n)
}

// more is peek where the buffer does not have as much.
func (s *stream) more(n int) ([]byte, error) {
	for s.b-s.a < n && s.err == nil {
		s.fill(n)
	}
	rest := s.buf[s.a:s.b]
	switch {
	case len(rest) >= n:
		return rest[:n], nil
	case s.err != io.EOF:
		return rest, s.err
	case len(rest) == 0:
		return nil, io.EOF
	}
	return rest, io.ErrUnexpectedEOF
}

// fill reads more, and makes room for n bytes.
func (s *stream) fill(n int) {
	if s.a > 0 {
		s.b = copy(s.buf, s.buf[s.a:s.b])
		s.a = 0
	}
	if n > len(s.buf) {
		s.buf = append(s.buf, make([]byte, n-len(s.buf))...)
	}
	read, err := s.r.Read(s.buf[s.b:])
	s.sum.Write(s.buf[s.b : s.b+read])
	s.b += read
	s.total += int64(read)
	s.err = err
}

// took passes n bytes that peek has shown.
func (s *stream) took(n int) {
	s.a += n
	s.off += int64(n)
}

// skip passes n bytes, of which some may be read already. It returns what peek would if they are not there.
func (s *stream) skip(n int64) error {
	for n > 0 {
		if _, err := s.peek(1); err != nil {
			return err
		}
		step := min(n, int64(s.b-s.a))
		s.took(int(step))
		n -= step
	}
	return nil
}

// drain reads what is left, for the sum of it all.
func (s *stream) drain() {
	for s.err == nil {
		s.off += int64(s.b - s.a)
		s.a, s.b = 0, 0
		s.fill(0)
	}
}

// sha256 is the sum of the plain bytes read so far.
func (s *stream) sha256() string { return hex.EncodeToString(s.sum.Sum(nil)) }

func (s *stream) Close() {
	for _, f := range s.close {
		f()
	}
	s.close = nil
}
