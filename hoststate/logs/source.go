package logs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"time"
)

// maxLine is what is kept of a line, in bytes.
const maxLine = 64 << 10

// line is one line of a file, without its end.
type line struct {
	text []byte // borrowed until the next line
	at   int64  // offset of its first byte
	left int64  // bytes of it beyond maxLine, which were not kept
}

// source is one file that is being read. It belongs to the goroutine of Run.
type source struct {
	f    *os.File
	info info
	gen  int // how often the file was truncated

	start int64  // of the line under way: all before it were handed out
	keep  []byte // of that line, what is read and kept
	left  int64  // of that line, what is read and not kept

	print  print     // of all that was read
	grown  time.Time // when it last was seen to grow
	once   bool      // it does not grow any more: a copy, or what a rotation left
	parser parser
	from   int64 // where to begin after a restart: the first line of what parser has under way, or start
	done   int64 // offset of the last line of which an event was made; -1 for none
}

// next is the offset of what is read next.
func (s *source) next() int64 { return s.start + int64(len(s.keep)) + s.left }

// errTruncated is the error of a source whose file lost what was read of it.
var errTruncated = errors.New("the file was truncated")

// read hands out the lines that follow, from at most len(buf) bytes of the file. It returns how many it read.
func (s *source) read(buf []byte, each func(line)) (int, error) {
	n, err := s.f.ReadAt(buf, s.next())
	if err != nil && err != io.EOF {
		return 0, err
	}
	if !s.print.in(s.f) { // asked after reading: so what was read is of this file
		return 0, errTruncated
	}
	s.print.add(buf[:n])
	for rest := buf[:n]; len(rest) > 0; {
		part, after, whole := bytes.Cut(rest, []byte{'\n'})
		if whole && len(s.keep) == 0 && s.left == 0 && len(part) <= maxLine {
			each(line{text: part, at: s.start})
			s.start += int64(len(part)) + 1
		} else {
			s.hold(part)
			if whole {
				s.end(each, 1)
			}
		}
		rest = after
	}
	return n, nil
}

// hold keeps a part of a line until the rest of it comes.
func (s *source) hold(part []byte) {
	kept := part[:min(len(part), maxLine-len(s.keep))]
	s.keep = append(s.keep, kept...)
	s.left += int64(len(part) - len(kept))
}

// end hands out the line under way, which is followed by so many bytes of line end.
func (s *source) end(each func(line), newline int64) {
	at, next := s.start, s.next()+newline
	if len(s.keep) > 0 {
		each(line{text: s.keep, at: at, left: s.left})
	}
	s.start, s.keep, s.left = next, nil, 0
}

// begin puts the source at a place of its file, at which a line begins.
func (s *source) begin(at int64) {
	p, err := printOf(s.f, at)
	if err != nil {
		at, p = 0, print{}
	}
	s.start, s.from, s.print, s.keep, s.left = at, at, p, nil, 0
}
