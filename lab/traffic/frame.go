package traffic

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Bytes of a frame, its length included.
const (
	requestHeader = 4 + 4
	answerHeader  = 4 + 8 + 16 + 2
	maxFrame      = 1 << 20
)

// clamp bounds what a frame of such a header may be long.
func clamp(size, header int) int { return min(max(size, header), maxFrame) }

// putRequest makes a request of so many bytes in buf, for an answer of so many, and returns it.
func putRequest(buf []byte, size, answer int) []byte {
	buf = sized(buf, clamp(size, requestHeader))
	binary.BigEndian.PutUint32(buf, uint32(len(buf)-4))
	binary.BigEndian.PutUint32(buf[4:], uint32(clamp(answer, answerHeader)))
	return buf
}

// readRequest reads a request and returns how long an answer it wants. The buffer is reused.
func readRequest(r io.Reader, buf *[]byte) (answer int, err error) {
	if err := readFrame(r, buf, requestHeader); err != nil {
		return 0, err
	}
	want := binary.BigEndian.Uint32((*buf)[4:])
	if want < answerHeader || want > maxFrame {
		return 0, fmt.Errorf("a request wants %d bytes: answers have %d to %d", want, answerHeader, maxFrame)
	}
	return int(want), nil
}

// putAnswer makes an answer of so many bytes in buf and returns it.
func putAnswer(buf []byte, size int, sent time.Time, client netip.AddrPort) []byte {
	buf = sized(buf, clamp(size, answerHeader))
	binary.BigEndian.PutUint32(buf, uint32(len(buf)-4))
	binary.BigEndian.PutUint64(buf[4:], uint64(sent.UnixNano()))
	addr := client.Addr().As16()
	copy(buf[12:], addr[:])
	binary.BigEndian.PutUint16(buf[28:], client.Port())
	return buf
}

// readAnswer reads an answer or message: when it was sent, and the client's address as the server saw it. The buffer is
// reused.
func readAnswer(r io.Reader, buf *[]byte) (sent time.Time, client netip.AddrPort, err error) {
	if err := readFrame(r, buf, answerHeader); err != nil {
		return sent, client, err
	}
	b := *buf
	addr := netip.AddrFrom16([16]byte(b[12:28])).Unmap()
	return time.Unix(0, int64(binary.BigEndian.Uint64(b[4:]))), netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[28:])), nil
}

// readFrame reads a frame of at least so many bytes, its length included. io.EOF is the end between two frames.
func readFrame(r io.Reader, buf *[]byte, header int) error {
	*buf = sized(*buf, 4)
	if _, err := io.ReadFull(r, *buf); err != nil {
		return err
	}
	size := uint64(binary.BigEndian.Uint32(*buf)) + 4
	if size < uint64(header) || size > maxFrame {
		return fmt.Errorf("a frame of %d bytes: frames have %d to %d", size, header, maxFrame)
	}
	*buf = sized(*buf, int(size))
	if _, err := io.ReadFull(r, (*buf)[4:]); err == io.EOF {
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	return nil
}

// sized returns buf with a length of size, its beginning kept.
func sized(buf []byte, size int) []byte {
	if cap(buf) < size {
		grown := make([]byte, size)
		copy(grown, buf)
		return grown
	}
	return buf[:size]
}
