package hoststate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// A file of the timeline is NNNNNNNN-20261122T190001.123456Z.jsonl. Its first line says when it was begun, and whether it
// goes on where the one before ended; its last, once it is sealed, what it covers. The lines between are events.

// Kinds of lines that are no events.
const (
	lineBegin = "timeline.file"
	lineEnd   = "timeline.sealed"
)

// bounds is a line of either kind.
type bounds struct {
	Kind      string    `json:"kind"`
	Time      time.Time `json:"time"`
	Continues bool      `json:"continues,omitempty"` // where the file before ended
	From      time.Time `json:"from,omitzero"`       // least and greatest time of its events
	To        time.Time `json:"to,omitzero"`
	Seq       uint64    `json:"last_seq,omitempty"`
	Events    uint64    `json:"events,omitempty"`
}

// file is a file that nobody writes to.
type file struct {
	number    uint64
	path      string
	size      int64
	begun     time.Time
	ended     time.Time // when the last of its events was seen, or it was sealed
	continues bool
	from, to  time.Time // of its events; zero if it has none
	seq       uint64    // of the last
	sealed    bool
}

const (
	suffix     = ".jsonl"
	nameLayout = "20060102T150405.000000Z"
	maxLine    = 2 * MaxData
	maxSeq     = 1 << 60 // a greater one is damage
)

func parseNumber(name string) (n uint64, ok bool) {
	digits, _, ok := strings.Cut(name, "-")
	if !ok || !strings.HasSuffix(name, suffix) || len(digits) < 8 {
		return 0, false
	}
	_, err := fmt.Sscanf(digits, "%d", &n)
	return n, err == nil
}

// listFiles returns the timeline's files in a directory, in order.
func listFiles(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []file
	for _, e := range entries {
		if n, ok := parseNumber(e.Name()); ok {
			list = append(list, file{number: n, path: filepath.Join(dir, e.Name())})
		}
	}
	slices.SortFunc(list, func(a, b file) int { return int(a.number) - int(b.number) })
	return list, nil
}

// tail is what is read of a file's end to find its last line.
const tail = 1 << 10

// look finds out what a file covers: from its last line, or, if it was not sealed, from all of them.
func (f *file) look() error {
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	f.size = st.Size()
	end := make([]byte, min(tail, f.size))
	if _, err := in.ReadAt(end, f.size-int64(len(end))); err != nil {
		return err
	}
	if i := bytes.LastIndexByte(bytes.TrimSuffix(end, []byte("\n")), '\n'); i >= 0 {
		end = end[i+1:]
	}
	var last bounds
	if bytes.HasSuffix(end, []byte("\n")) && json.Unmarshal(end, &last) == nil && last.Kind == lineEnd {
		f.ended, f.from, f.to, f.seq, f.sealed = last.Time, last.From, last.To, last.Seq, true
		begin, err := bufio.NewReaderSize(io.LimitReader(in, tail), tail).ReadBytes('\n')
		if err == nil {
			f.head(begin)
		}
		return nil
	}
	return f.scan(in)
}

// head takes over what the first line says.
func (f *file) head(line []byte) (ok bool) {
	var first bounds
	if json.Unmarshal(line, &first) != nil || first.Kind != lineBegin {
		return false
	}
	f.begun, f.continues = first.Time, first.Continues
	f.ended = later(f.ended, first.Time)
	return true
}

// scan reads the whole file. f.size becomes where its last whole line ends.
func (f *file) scan(in io.Reader) error {
	f.size = 0
	err := eachLine(in, func(line []byte, end int64) error {
		f.size = end
		if f.head(line) {
			return nil
		}
		if e, ok := parse(line); ok {
			f.add(&e)
		}
		return nil
	})
	return err
}

// parse reads a line. It is no event if it is one of bounds, or damaged.
func parse(line []byte) (e Event, ok bool) {
	err := json.Unmarshal(line, &e)
	return e, err == nil && e.Seq > 0 && e.Seq < maxSeq && !e.Time.IsZero()
}

// add widens what the file covers by an event.
func (f *file) add(e *Event) {
	f.from, f.to = earliest(f.from, e.Time), later(f.to, e.Time)
	f.ended = later(f.ended, e.seen())
	f.seq = max(f.seq, e.Seq)
}

func (e *Event) seen() time.Time {
	if e.Seen.IsZero() {
		return e.Time
	}
	return e.Seen
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// eachLine calls f with every whole line, its newline included, and how many bytes of in end with it. The line is valid
// until f returns. One that is longer than any event is nil.
func eachLine(in io.Reader, f func(line []byte, end int64) error) error {
	r := bufio.NewReaderSize(in, 64<<10)
	var long []byte
	var end int64
	for {
		part, err := r.ReadSlice('\n')
		end += int64(len(part))
		if errors.Is(err, bufio.ErrBufferFull) {
			if len(long) <= maxLine {
				long = append(long, part...)
			}
			continue
		}
		if err == io.EOF {
			return nil // what has no newline is still being written
		}
		if err != nil {
			return err
		}
		line := part
		if long != nil {
			line, long = append(long, part...), nil
		}
		if len(line) > maxLine {
			line = nil
		}
		if err := f(line, end); err != nil {
			return err
		}
	}
}

// live is the file that is being written.
type live struct {
	file
	f      *os.File
	events uint64
	dirty  bool
}

// create begins a file, of events from since on.
func create(dir string, number uint64, since time.Time, continues bool) (*live, error) {
	now := since.UTC().Round(0)
	l := &live{file: file{number: number, begun: now, ended: now, continues: continues}}
	l.path = filepath.Join(dir, fmt.Sprintf("%08d-%s%s", number, now.Format(nameLayout), suffix))
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return nil, err
	}
	l.f = f
	line, _ := json.Marshal(bounds{Kind: lineBegin, Time: now, Continues: continues}) // plain values
	if err := l.put(append(line, '\n')); err != nil {
		_ = f.Close()
		_ = os.Remove(l.path)
		return nil, err
	}
	return l, nil
}

// append writes a batch, all of it or nothing.
func (l *live) append(b batch) error {
	if err := l.put(b.lines); err != nil {
		return err
	}
	l.events += b.events
	l.from, l.to, l.seq = earliest(l.from, b.from), later(l.to, b.to), b.seq
	l.ended = later(l.ended, time.Now().UTC().Round(0))
	return nil
}

// put writes all of b or nothing.
func (l *live) put(b []byte) error {
	n, err := l.f.WriteAt(b, l.size)
	if err != nil {
		if n > 0 {
			err = errors.Join(err, l.f.Truncate(l.size))
		}
		return err
	}
	l.size += int64(n)
	l.dirty = true
	return nil
}

// seal ends the file, which covers what happened until then; its pages leave the page cache, which is the workloads'.
func (l *live) seal(until time.Time) (file, error) {
	l.ended = later(l.ended, until.UTC().Round(0)) // the clock may have been set back
	line, _ := json.Marshal(bounds{Kind: lineEnd, Time: l.ended, From: l.from, To: l.to, Seq: l.seq, Events: l.events})
	err := l.put(append(line, '\n'))
	l.sealed = err == nil
	err = errors.Join(err, unix.Fdatasync(int(l.f.Fd())))
	_ = unix.Fadvise(int(l.f.Fd()), 0, 0, unix.FADV_DONTNEED) // only a hint
	return l.file, errors.Join(err, l.f.Close())
}

// recover lists the files that are there, and seals what a dead process left open. It returns when the last event was seen.
// A file that cannot be read stays where it is, for the next start: it must not keep packets from being recorded.
func (t *Timeline) recover() (last time.Time, err error) {
	if t.files, err = listFiles(t.cfg.Dir); err != nil {
		return last, err
	}
	kept := t.files[:0]
	for _, f := range t.files {
		t.number = f.number
		if err := f.look(); err != nil {
			t.log.Error("a file of the timeline cannot be read and is left out; the next start tries again", zap.String("file", f.path), zap.Error(err),
				zap.String("cure", "check the spool's disk (dmesg)"))
			continue
		}
		if f.empty() { // the process died before its first line was whole
			_ = os.Remove(f.path)
			continue
		}
		if !f.sealed {
			if err := f.close(); err != nil { // readers look at all of its lines then
				t.log.Warn("a file of the timeline that a dead process left open cannot be sealed", zap.String("file", f.path), zap.Error(err))
			}
		}
		if last = f.ended; f.seq < maxSeq { // else its last line is damaged
			t.seq = max(t.seq, f.seq)
		}
		kept = append(kept, f)
	}
	t.files = kept
	return last, nil
}

func (f *file) empty() bool { return f.size == 0 }

// close seals a file of a dead process.
func (f *file) close() error {
	out, err := os.OpenFile(f.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := out.Truncate(f.size); err != nil {
		return errors.Join(err, out.Close())
	}
	l := live{file: *f, f: out}
	// The time is that of the last event: from then on nothing was watched.
	line, _ := json.Marshal(bounds{Kind: lineEnd, Time: f.ended, From: f.from, To: f.to, Seq: f.seq})
	err = errors.Join(l.put(append(line, '\n')), out.Close())
	f.size, f.sealed = l.size, true
	return err
}
