// Package rotate keeps the spool: the recent past of a node on disk, within a budget, with an account of what is
// missing. It imports nothing of Ringside but pcapng.
//
// Its nouns:
//
//   - Spool: a directory that one process owns (flock). Its writer takes whole chunks from all rings.
//   - Segment: one pcapng file of one section and one interface table, bounded in time and size. Its name carries the
//     sequence and the UTC time of its creation; its state is its name, and a rename the transition: NAME.pcapng.open
//     while it is written, NAME.pcapng once sealed. A sealed segment never changes.
//   - Meta page: whole pages at the start of a segment, and between chunks when something is new: the section header,
//     the interfaces the following chunks refer to, and notes. It ends like a chunk, with a summary that names no ring.
//   - Index: NAME.idx beside a segment: its facts, interfaces, notes, and where each chunk lies. It is checksummed and
//     can be rebuilt from the segment alone, and is, when it is missing or damaged.
//   - Pin: a directory in pins/ with hard links of segments and indexes. Retention removes its own name only, so a pin
//     needs no lock and survives a restart. A pin's directory can itself be read with OpenReader,
//     and while its last segment is still written with PinReader.
//   - Tap and Lease: what shows chunks to one reader on their way to the disk, and a chunk on loan. A reader that is slow is
//     skipped and told of it; it holds a few of the pool's chunks at most.
//   - Window: the packets of a stretch of time, cut to the nanosecond, as one pcapng stream.
//   - Coverage: what a window, as asked, does and does not hold, and why. Every window has one.
//
// # On disk
//
//	lock                                          flock, and the pid of who holds it
//	00000042-20261122T190001.123456Z.pcapng       a sealed segment
//	00000042-20261122T190001.123456Z.idx          its index
//	00000043-20261122T190031.123789Z.pcapng.open  the live one
//	pins/NAME/                                    links of the same names, and pin.json: what it is to hold
//	windows/N/                                    links of what is being read; emptied at start
//	damaged/                                      files that are no segments, set aside at start
//
// A segment is a row of chunks, each of whole pages and written at once: blocks of packets and notes of one ring,
// interface statistics, and a summary that pads to the page. So the file can be read at any moment, by any tool, up to
// the last chunk, and the writer does no work per packet.
//
// # Clocks
//
// Packets, chunks and windows carry wall-clock time, which can be stepped; nothing here assumes that it grows. Rotation
// is timed by the monotonic clock. The writer compares the wall clock with CLOCK_BOOTTIME at every chunk: a change of
// more than 100 ms is a clock-step note and begins a new segment. Packets from before and after a backward step that
// bear the same time are all found, because windows select by the least and greatest time of each chunk.
//
// # Retention
//
// What is set aside in damaged/ goes first, by its time of modification, then the oldest segment; the newest sealed one
// and the live one are never removed. Of segments written since
// the machine was started, the age is measured by CLOCK_BOOTTIME, which no step moves. Of older ones only the wall
// clock can tell; a machine that starts with a wrong clock would lose all of them at once, so they expire only after
// the wall clock has gone ten minutes without a step, long enough for time synchronisation to put it right.
package rotate
