package rotate

import (
	"sync/atomic"
	"time"
)

// Stats is the state of the spool and what it has done since Open.
type Stats struct {
	WrittenPackets   uint64 `json:"written_packets"`
	WrittenBytes     uint64 `json:"written_bytes"` // of segments, padding included
	UnwrittenPackets uint64 `json:"unwritten_packets"`
	UnwrittenBytes   uint64 `json:"unwritten_bytes"`
	Rotations        uint64 `json:"rotations"`     // segments begun
	SealFailures     uint64 `json:"seal_failures"` // an index or a name that could not be written
	SyncFailures     uint64 `json:"sync_failures"` // a disk that did not confirm a segment
	WriteErrors      uint64 `json:"write_errors"`
	ClockSteps       uint64 `json:"clock_steps"`
	NotesLost        uint64 `json:"notes_lost"` // more came than could be kept
	Removed          uint64 `json:"removed"`    // segments that retention removed

	Segments    int       `json:"segments"`
	Bytes       int64     `json:"bytes"`        // of segments, indexes and files set aside, without what only pins hold
	PinnedBytes int64     `json:"pinned_bytes"` // of segments that only pins hold
	Pins        int       `json:"pins"`
	Oldest      time.Time `json:"oldest,omitzero"` // least and greatest time covered
	Newest      time.Time `json:"newest,omitzero"`
	Queue       int       `json:"queue"`     // chunks waiting for the disk
	QueueMax    int       `json:"queue_max"` // chunks there are
	DiskFree    int64     `json:"disk_free"`
	DiskTotal   int64     `json:"disk_total"`
	KeepBytes   int64     `json:"keep_bytes"` // the budget in force
	Direct      bool      `json:"direct"`     // whether segments bypass the page cache
	WhyBuffered string    `json:"why_buffered,omitempty"`
	Error       string    `json:"error,omitempty"` // why nothing can be written at the moment
}

// counters are the parts of Stats that many goroutines count.
type counters struct {
	writtenPackets, writtenBytes, unwrittenPackets, unwrittenBytes atomic.Uint64
	rotations, sealFailures, syncFailures, writeErrors             atomic.Uint64
	clockSteps, notesLost, removed                                 atomic.Uint64
	diskFree, diskTotal                                            atomic.Int64
}

// Stats returns a snapshot. It is cheap and may be called from any goroutine.
func (s *Spool) Stats() Stats {
	c := &s.count
	st := Stats{
		WrittenPackets: c.writtenPackets.Load(), WrittenBytes: c.writtenBytes.Load(),
		UnwrittenPackets: c.unwrittenPackets.Load(), UnwrittenBytes: c.unwrittenBytes.Load(),
		Rotations: c.rotations.Load(), SealFailures: c.sealFailures.Load(), SyncFailures: c.syncFailures.Load(),
		WriteErrors: c.writeErrors.Load(), ClockSteps: c.clockSteps.Load(), NotesLost: c.notesLost.Load(),
		Removed: c.removed.Load(), DiskFree: c.diskFree.Load(), DiskTotal: c.diskTotal.Load(),
		Queue: len(s.queue), QueueMax: poolChunks, KeepBytes: s.limits().Keep.Bytes, Direct: s.direct.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.WhyBuffered, st.Error = s.whyBuffered, s.failing
	st.Segments, st.Bytes = len(s.segments), s.usage()
	st.Pins, st.PinnedBytes = len(s.pins), s.pinnedOnly()
	for _, g := range s.segments {
		if !g.From.IsZero() && (st.Oldest.IsZero() || g.From.Before(st.Oldest)) {
			st.Oldest = g.From
		}
		if g.To.After(st.Newest) {
			st.Newest = g.To
		}
	}
	return st
}
