package rotate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// An index file is three lines: indexMagic and the CRC-32C of the rest in hexadecimal, the facts, the chunks. So the
// facts of thousands of segments are read at start without decoding their chunks.
const (
	indexMagic = "ringside-index 1 "
	maxIndex   = 64 << 20 // bytes; 256 MiB of the smallest chunks make 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errIndex means that an index file is missing or damaged, and must be rebuilt.
var errIndex = errors.New("index is damaged")

// encode returns the index as its file holds it.
func (x *index) encode() ([]byte, error) {
	head, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	chunks, err := json.Marshal(x.chunks)
	if err != nil {
		return nil, err
	}
	rest := make([]byte, 0, len(head)+len(chunks)+2)
	rest = append(append(append(append(rest, head...), '\n'), chunks...), '\n')
	return withChecksum(rest), nil
}

// withChecksum puts the first line before the rest.
func withChecksum(rest []byte) []byte {
	out := fmt.Appendf(make([]byte, 0, len(rest)+64), "%s%08x\n", indexMagic, crc32.Checksum(rest, castagnoli))
	return append(out, rest...)
}

// decodeIndex is the inverse of encode; whole says whether the chunks are wanted too. It accepts arbitrary bytes and
// returns an error that wraps errIndex for anything that encode did not write, or whose chunks could not be read.
func decodeIndex(b []byte, whole bool) (*index, error) {
	rest, ok := bytes.CutPrefix(b, []byte(indexMagic))
	if !ok || len(rest) < 9 || rest[8] != '\n' {
		return nil, fmt.Errorf("%w: it does not begin with %q", errIndex, indexMagic)
	}
	var sum uint32
	if _, err := fmt.Sscanf(string(rest[:8]), "%08x", &sum); err != nil || sum != crc32.Checksum(rest[9:], castagnoli) {
		return nil, fmt.Errorf("%w: its checksum is wrong", errIndex)
	}
	head, chunks, ok := bytes.Cut(rest[9:], []byte{'\n'})
	if !ok {
		return nil, fmt.Errorf("%w: it has no chunks", errIndex)
	}
	x := &index{}
	if err := json.Unmarshal(head, x); err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	if !whole {
		return x, nil
	}
	if err := json.Unmarshal(chunks, &x.chunks); err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	return x, x.check()
}

// check refuses chunks that lie outside the segment, overlap, or exceed the size of a chunk.
func (x *index) check() error {
	end := int64(0)
	for i, e := range x.chunks {
		if e.Offset < end || e.Data < 0 || e.Data > e.Length || e.Length > maxChunk || e.Length > x.Bytes-e.Offset {
			return fmt.Errorf("%w: chunk %d of %d bytes at %d in a segment of %d", errIndex, i, e.Length, e.Offset, x.Bytes)
		}
		end = e.Offset + e.Length
	}
	return nil
}

// readIndex reads an index file and drops it from the page cache. It wraps errIndex if the file is not there.
func readIndex(path string, whole bool) (*index, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxIndex))
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	return decodeIndex(b, whole)
}
