package pcapng

// ChunkSize is the size in bytes of a chunk's buffer: one write to the spool at full load.
const ChunkSize = 1 << 20

// chunkReserve is kept free for what is appended when the chunk is closed: statistics and summary.
const chunkReserve = 16 << 10

// Chunk is a buffer of whole blocks of one ring and one table. It has one owner at a time: the ring that fills it,
// then the writer, then nobody until it is filled again. The owner changes by handing over the pointer. Somebody else may read
// its blocks while the writer has it, if the writer's owner sees to it that it is not filled again meanwhile (rotate.Tap).
type Chunk struct {
	Table   *Table
	Summary Summary // Counts is filled by Tally
	Notes   []Note  // those in the chunk, in order

	buf    []byte // its capacity never changes
	n      int
	counts []uint64 // packets by interface id
}

// NewChunk returns an empty chunk over buf, which must be page-aligned for direct I/O and at least 64 KiB more than
// SnapLen long.
func NewChunk(buf []byte) *Chunk { return &Chunk{buf: buf} }

// Reset empties the chunk for ring, whose recording it continues at from (nanoseconds since 1970).
func (c *Chunk) Reset(t *Table, ring string, from int64) {
	c.Table, c.n, c.Notes = t, 0, c.Notes[:0]
	c.Summary = Summary{Ring: ring, From: from, To: from, Counts: c.Summary.Counts[:0]}
	clear(c.counts)
}

// Room is how many bytes of blocks still fit.
func (c *Chunk) Room() int { return len(c.buf) - chunkReserve - c.n }

// Len is the number of bytes of blocks in the chunk.
func (c *Chunk) Len() int { return c.n }

// Blocks is the blocks in the chunk, for Parse. Whoever reads them while the chunk is closed has taken them before: Close
// appends behind them and changes none.
func (c *Chunk) Blocks() []byte { return c.buf[:c.n:c.n] }

// Packet appends a packet, as PutPacket does. The caller has checked Room against PacketSize.
func (c *Chunk) Packet(id uint32, ns int64, original, flags uint32, head, tail []byte) {
	c.n += PutPacket(c.buf[c.n:], id, ns, original, flags, head, tail)
	s := &c.Summary
	if s.Packets == 0 || ns < s.First {
		s.First = ns
	}
	if s.Packets == 0 || ns > s.Last {
		s.Last = ns
	}
	s.Packets++
	if int(id) >= len(c.counts) {
		c.growCounts(id)
	}
	c.counts[id]++
}

func (c *Chunk) growCounts(id uint32) {
	c.counts = append(c.counts, make([]uint64, int(id)+1-len(c.counts))...)
}

// Note appends n if it fits, and says whether it did.
func (c *Chunk) Note(n Note) bool {
	b := AppendNote(nil, n)
	if len(b) > c.Room() {
		return false
	}
	c.n += copy(c.buf[c.n:], b)
	c.Notes = append(c.Notes, n)
	return true
}

// Tally brings Summary.Counts up to date.
func (c *Chunk) Tally() {
	c.Summary.Counts = c.Summary.Counts[:0]
	for id, n := range c.counts {
		if n > 0 {
			c.Summary.Counts = append(c.Summary.Counts, Count{ID: uint32(id), Packets: n})
		}
	}
}

// Close appends statistics blocks, as many as fit, and the summary, padded to a page. It returns the bytes to write,
// which alias the chunk's buffer. stats gets the interfaces that have packets in the chunk and returns the totals of
// the section for each.
func (c *Chunk) Close(stats func(Count) (received, dropped uint64)) []byte {
	c.Tally()
	b := c.buf[:c.n]
	for i, count := range c.Summary.Counts {
		received, dropped := stats(count)
		if i < chunkReserve/2/StatisticsSize {
			b = AppendStatistics(b, count.ID, c.Summary.To, received, dropped)
		}
	}
	c.n = len(b)
	return c.appendSummary(b)
}

// CloseAgain closes a chunk that is closed once more, without statistics: it goes to another section than the one whose
// totals they were. data is what Len was before it was closed.
func (c *Chunk) CloseAgain(data int) []byte {
	c.n = data
	return c.appendSummary(c.buf[:data])
}

func (c *Chunk) appendSummary(b []byte) []byte {
	s := c.Summary
	if len(s.Counts) > 100 { // the summary must fit the reserve; a rebuilt index then counts the packets itself
		s.Counts = nil
	}
	return AppendSummary(b, s)
}
