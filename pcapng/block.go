package pcapng

import (
	"encoding/binary"
	"math"
)

// SnapLen is the snapshot length stated in every Interface Description Block, in bytes: the most that libpcap and
// Wireshark accept in a packet (MAXIMUM_SNAPLEN in libpcap's pcap-int.h).
const SnapLen = 262144

// PageSize is the unit, in bytes, to which every write of a segment is aligned and padded. It is a multiple of any
// direct I/O alignment that Linux file systems ask for today.
const PageSize = 4096

// Block types, from draft-ietf-opsawg-pcapng, section 11.1.
const (
	TypeSection    uint32 = 0x0A0D0D0A // Section Header Block
	TypeInterface  uint32 = 0x00000001 // Interface Description Block
	TypeStatistics uint32 = 0x00000005 // Interface Statistics Block
	TypePacket     uint32 = 0x00000006 // Enhanced Packet Block
	TypeLocal      uint32 = 0x80000002 // local use: Ringside's notes, summaries and padding
)

const (
	byteOrderMagic  = 0x1A2B3C4D
	linkEthernet    = 1
	optEnd          = 0
	optComment      = 1
	shbUserAppl     = 4
	ifName          = 2
	ifDescription   = 3
	ifTsResol       = 9
	ifFilter        = 11
	isbIfRecv       = 4
	isbIfDrop       = 5
	blockOverhead   = 12 // type, length, length again
	maxBlock        = SnapLen + 65536
	maxOptionLength = math.MaxUint16
)

var le = binary.LittleEndian

// beginBlock appends the head of a block; endBlock completes it.
func beginBlock(dst []byte, typ uint32) []byte {
	dst = le.AppendUint32(dst, typ)
	return le.AppendUint32(dst, 0)
}

// endBlock writes the length of the block that began at start into both its places.
func endBlock(dst []byte, start int) []byte {
	length := uint32(len(dst) - start + 4)
	le.PutUint32(dst[start+4:], length)
	return le.AppendUint32(dst, length)
}

func appendOption(dst []byte, code uint16, value []byte) []byte {
	if len(value) > maxOptionLength {
		value = value[:maxOptionLength]
	}
	dst = le.AppendUint16(dst, code)
	dst = le.AppendUint16(dst, uint16(len(value)))
	dst = append(dst, value...)
	return appendZeros(dst, -len(value)&3)
}

func appendText(dst []byte, code uint16, text string) []byte {
	if text == "" {
		return dst
	}
	return appendOption(dst, code, []byte(text))
}

func appendZeros(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, 0)
	}
	return dst
}

// AppendSection appends a Section Header Block of unknown section length. The comment is shown by Wireshark and
// capinfos; either text may be empty. A text of more than 65535 bytes is cut.
func AppendSection(dst []byte, application, comment string) []byte {
	start := len(dst)
	dst = beginBlock(dst, TypeSection)
	dst = le.AppendUint32(dst, byteOrderMagic)
	dst = le.AppendUint32(dst, 1) // version 1.0
	dst = le.AppendUint64(dst, math.MaxUint64)
	dst = appendText(dst, optComment, comment)
	dst = appendText(dst, shbUserAppl, application)
	dst = appendOption(dst, optEnd, nil)
	return endBlock(dst, start)
}

// AppendInterface appends an Interface Description Block: Ethernet, SnapLen, nanoseconds.
func AppendInterface(dst []byte, i Interface) []byte {
	start := len(dst)
	dst = beginBlock(dst, TypeInterface)
	dst = le.AppendUint32(dst, linkEthernet)
	dst = le.AppendUint32(dst, SnapLen)
	dst = appendText(dst, ifName, i.Name)
	dst = appendText(dst, ifDescription, i.Description)
	if i.Filter != "" {
		dst = appendOption(dst, ifFilter, append([]byte{0}, i.Filter...)) // 0: a libpcap filter string
	}
	dst = appendOption(dst, ifTsResol, []byte{9})
	dst = appendOption(dst, optEnd, nil)
	return endBlock(dst, start)
}

// StatisticsSize is the size in bytes of every block that AppendStatistics writes.
const StatisticsSize = blockOverhead + 12 + 2*(4+8) + 4

// AppendStatistics appends an Interface Statistics Block dated ns: packets received and dropped on interface id
// since the section began.
func AppendStatistics(dst []byte, id uint32, ns int64, received, dropped uint64) []byte {
	start := len(dst)
	dst = beginBlock(dst, TypeStatistics)
	dst = le.AppendUint32(dst, id)
	dst = le.AppendUint32(dst, uint32(uint64(ns)>>32))
	dst = le.AppendUint32(dst, uint32(ns))
	dst = le.AppendUint16(dst, isbIfRecv)
	dst = le.AppendUint16(dst, 8)
	dst = le.AppendUint64(dst, received)
	dst = le.AppendUint16(dst, isbIfDrop)
	dst = le.AppendUint16(dst, 8)
	dst = le.AppendUint64(dst, dropped)
	dst = appendOption(dst, optEnd, nil)
	return endBlock(dst, start)
}
