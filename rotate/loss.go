package rotate

import (
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/pcapng"
)

// lose counts a chunk that could not be written, because of err or, if that is nil, because it is too early to try
// again.
func (w *writer) lose(c *pcapng.Chunk, data int, err error) {
	s := w.s
	s.count.unwrittenPackets.Add(c.Summary.Packets)
	s.count.unwrittenBytes.Add(uint64(data))
	lo, hi := min(c.Summary.From, c.Summary.To), max(c.Summary.From, c.Summary.To)
	n := w.lost[c.Summary.Ring]
	if n == nil {
		n = &pcapng.Note{Kind: pcapng.NoteUnwritten, Ring: c.Summary.Ring, From: lo, To: hi}
		w.lost[c.Summary.Ring] = n
	}
	n.From, n.To = min(n.From, lo), max(n.To, hi)
	n.Packets += c.Summary.Packets
	n.Bytes += uint64(data)
	for _, note := range c.Notes {
		s.Note(note) // what the chunk said of itself must not be lost with it
	}
	s.mu.Lock()
	s.losing[n.Ring] = *n
	s.mu.Unlock()
	if err == nil {
		return
	}
	if w.since.IsZero() {
		w.since = time.Now()
	}
	n.Text = err.Error()
	s.count.writeErrors.Add(1)
	w.complain("chunks cannot be written and are counted as unwritten", err)
	w.backOff = min(max(2*w.backOff, maxBackOff/8), maxBackOff)
	w.retryAt = time.Now().Add(w.backOff)
	s.mu.Lock()
	s.failing = err.Error()
	s.mu.Unlock()
}

// lastNotes writes, at the end of a run, the notes that no chunk has followed.
func (w *writer) lastNotes() {
	for _, n := range w.lost {
		w.s.Note(*n)
	}
	if w.table == nil || len(w.pending()) == 0 {
		return
	}
	if err := w.prepare(w.table); err != nil {
		w.s.log.Error("the last notes of the recording could not be written", zap.Any("notes", w.pending()), zap.Error(err))
	}
}

// resumed notes what could not be written, now that a chunk was.
func (w *writer) resumed() {
	var packets, bytes uint64
	for ring, n := range w.lost {
		packets += n.Packets
		bytes += n.Bytes
		w.s.Note(*n)
		delete(w.lost, ring)
	}
	w.s.mu.Lock()
	w.s.failing = ""
	clear(w.s.losing)
	w.s.mu.Unlock()
	w.s.log.Warn("chunks are written again", zap.String("dir", w.s.cfg.Dir), zap.Duration("after", time.Since(w.since)),
		zap.Uint64("unwritten_packets", packets), zap.Uint64("unwritten_bytes", bytes))
	w.backOff, w.retryAt, w.since = 0, time.Time{}, time.Time{}
}
