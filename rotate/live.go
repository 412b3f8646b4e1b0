package rotate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ringside/ringside/failpoint"
	"github.com/ringside/ringside/pcapng"
)

const (
	application  = "ringside"
	allocateStep = 16 << 20 // bytes asked of the file system at once
	noteSegment  = "segment"
)

// live is the segment being written. Its fields are owned by the writer; those of seg are guarded by Spool.mu too.
type live struct {
	seg       *segment
	file      file
	table     *pcapng.Table
	known     int // interfaces of the table that the file has
	size      int64
	allocated int64
	opened    time.Time         // on the monotonic clock
	received  []uint64          // packets by interface id
	dropped   map[string]uint64 // by ring
	first     map[string]uint32 // least interface id seen, by ring
}

// begin creates the next segment, for table. The section header is written with its first meta page.
func (s *Spool) begin(table *pcapng.Table) (*live, error) {
	wall, boot := s.clock.now()
	s.mu.Lock()
	sequence := s.next
	s.next++
	s.mu.Unlock()
	base := baseName(sequence, time.Unix(0, wall))
	path := filepath.Join(s.cfg.Dir, base+suffixOpen)
	f, err := s.disk.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create segment %s: %w", base, err)
	}
	failpoint.Stage("segment-created")
	x := &index{
		Segment: Segment{Sequence: sequence, Name: base + suffixSealed, State: StateLive},
		anchor:  anchor{Boot: s.boot, Wall: wall, Created: boot},
	}
	l := &live{
		seg:  &segment{Segment: x.Segment, anchor: x.anchor, index: x, open: true},
		file: f, table: table, opened: time.Now(),
		dropped: map[string]uint64{}, first: map[string]uint32{},
	}
	s.mu.Lock()
	s.segments = append(s.segments, l.seg)
	s.mu.Unlock()
	s.count.rotations.Add(1)
	return l, nil
}

// header returns the blocks that the file needs before a chunk of table can follow: the section header, interfaces
// that are new, and notes. It returns nothing if nothing is new.
func (l *live) header(notes []pcapng.Note) (blocks []byte, table []pcapng.Interface) {
	table = l.table.Interfaces()
	if l.size > 0 && len(table) == l.known && len(notes) == 0 {
		return nil, table
	}
	if l.size == 0 {
		blocks = pcapng.AppendSection(blocks, application, fmt.Sprintf("ringside segment %d", l.seg.Sequence))
	}
	for _, i := range table[l.known:] { // directly behind the section header: editcap and mergecap look no further
		blocks = pcapng.AppendInterface(blocks, i)
	}
	if l.size == 0 {
		a := l.seg.anchor
		blocks = pcapng.AppendNote(blocks, pcapng.Note{Kind: noteSegment, From: a.Created, To: a.Wall, Text: a.Boot})
	}
	for _, n := range notes {
		blocks = pcapng.AppendNote(blocks, n)
	}
	// The summary of a meta page names no ring, and says how many interfaces there are: a rebuild that has lost a page
	// then does not give the following interfaces wrong ids.
	return pcapng.AppendSummary(blocks, pcapng.Summary{Counts: []pcapng.Count{{ID: uint32(len(table))}}}), table
}

// statistics counts c of a chunk with summary s and returns the totals of its interface for the section. A ring's drops cannot be told by
// interface: the ring's first interface stands for them, so that the sum over interfaces is right.
func (l *live) statistics(s *pcapng.Summary, c pcapng.Count) (received, dropped uint64) {
	if int(c.ID) >= len(l.received) {
		l.received = append(l.received, make([]uint64, int(c.ID)+1-len(l.received))...)
	}
	l.received[c.ID] += c.Packets
	if first, ok := l.first[s.Ring]; !ok || c.ID < first {
		l.first[s.Ring] = c.ID
	}
	if l.first[s.Ring] == c.ID {
		dropped = l.dropped[s.Ring] + s.Dropped
	}
	return l.received[c.ID] + dropped, dropped
}

// write writes whole pages at the end of the file, and the remainder once more after an error that is no lack of
// space. On failure the file is as before, but for bytes beyond its size.
func (l *live) write(b []byte) error {
	if l.size+int64(len(b)) > l.allocated {
		if l.file.Allocate(l.allocated, allocateStep) == nil {
			l.allocated += allocateStep
		} else {
			l.allocated = l.size + int64(len(b)) + allocateStep // ask again, but not for every chunk
		}
	}
	done, err := l.file.WriteAt(b, l.size)
	if err != nil && !noSpace(err) {
		done &^= pcapng.PageSize - 1
		var rest int
		if rest, err = l.file.WriteAt(b[done:], l.size+int64(done)); err == nil && done+rest < len(b) {
			err = io.ErrShortWrite
		}
	}
	if err != nil {
		return fmt.Errorf("write segment %s: %w", l.seg.Name, bare(err))
	}
	l.size += int64(len(b))
	return nil
}

// bare strips the path from an error, for messages that name the segment already.
func bare(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
