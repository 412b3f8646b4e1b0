// Package pcapng writes and walks the blocks of Ringside's files.
//
// Its nouns:
//
//   - Block: one pcapng block, the unit of the format (draft-ietf-opsawg-pcapng, section 3.1). Everything here is
//     little-endian, link type Ethernet, snapshot length 262144 and nanosecond time, because libpcap refuses files
//     that mix link types or snapshot lengths.
//   - Interface and Table: what an Interface Description Block states, and the append-only list whose positions are
//     the interface ids of a section.
//   - Chunk: a page-aligned buffer of whole packet and note blocks, up to about a second of one ring. Capture fills
//     it, rotate writes it, and it is the only thing that passes between them; that is why it lives here, below both.
//   - Note: a dated fact that is not a packet (drops, a restart, a clock step), kept in a local-use block that other
//     tools skip.
//   - Summary: what a chunk holds, kept in the local-use block that pads every chunk to its page, so that an index
//     can be rebuilt from the segment alone.
//
// The package imports nothing of Ringside and no system calls.
package pcapng
