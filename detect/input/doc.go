// Package input reads captures of any tool as packets in the order of time.
//
// Its nouns:
//
//   - Source: where a capture comes from: a file, or a stream. What it is shows in its bytes, never in its name: pcap (µs, ns
//     and the form with interface numbers, both byte orders) or pcapng, as it is or in gzip or zstd.
//   - Interface: where packets were captured. Its position in Reader.Interfaces is their Vantage. One of a pcapng file has a
//     name; the kernel's number is part of it where frames say so themselves (linktype LINUX_SLL2).
//   - Loss: a stretch of time of which a capture says itself that it is not complete.
//   - Problem: why a capture could not be read to its end. Everything before is used.
//
// # Order
//
// Packets of one file that were captured by one interface come as the file has them, put in order where they are less
// than 20 ms apart. Several interfaces of a file are merged by time, as long as the file has them within 1.5 s and 32,768
// packets of each other: recorders write each interface's buffer when it is full. Several files are merged by the time of what is next
// in each. So nothing is sorted that is further apart: a step of the clock stays what it is. Packet.Number stays that of the
// file, counted as tshark does: every block that it shows as a frame.
//
// # Why not pcapgo
//
// gopacket's pcapgo, with which the project writes classic pcap, does not show the direction of a packet, local-use blocks,
// packet blocks of the old form, or how many packets were dropped before one. It counts no frames, and refuses records that are longer
// than the header of a pcap file says, which every other tool takes. Here blocks are read in place, once, for both formats.
package input
