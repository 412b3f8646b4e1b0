package pcapng

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Kinds of notes. Each is a fact that an account of the recording must not omit.
const (
	NoteDropped   = "dropped"    // the kernel dropped Packets on Ring between From and To: the ring was full
	NoteUnwritten = "unwritten"  // Packets captured between From and To could not be written
	NoteGap       = "gap"        // nothing was recorded between From and To (restart, or the machine was off)
	NoteClock     = "clock-step" // the wall clock was moved by Step at To
	NoteInterface = "interface"  // Interface appeared, vanished, went down or up at To; Text says which
	NoteDamaged   = "damaged"    // Bytes of a segment cannot be read; what they held lay between From and To
	NoteFilter    = "filter"     // the filter of Ring changed, or was refused, at To; Text says how
)

// Note is a dated fact that is not a packet. Times are nanoseconds since 1970; Step is in nanoseconds.
type Note struct {
	Kind      string `json:"kind"`
	From      int64  `json:"from_ns,omitempty"`
	To        int64  `json:"to_ns"`
	Ring      string `json:"ring,omitempty"`
	Interface string `json:"interface,omitempty"`
	Packets   uint64 `json:"packets,omitempty"`
	Bytes     uint64 `json:"bytes,omitempty"`
	Frozen    uint64 `json:"frozen,omitempty"` // times the ring was found full, for NoteDropped
	Step      int64  `json:"step_ns,omitempty"`
	Text      string `json:"text,omitempty"`
}

// Summary is what a chunk holds. Times are nanoseconds since 1970.
type Summary struct {
	Ring string `json:"ring"`
	// From and To bound what the ring had recorded when the chunk was closed: every packet of the ring in [From, To)
	// is in this chunk or an earlier one, or is counted as lost. Consecutive chunks of a ring share a bound.
	From int64 `json:"from_ns"`
	To   int64 `json:"to_ns"`
	// First and Last are the least and the greatest packet time, both 0 without packets. Packets of several CPUs are
	// not in time order, so these are no positions.
	First     int64   `json:"first_ns,omitempty"`
	Last      int64   `json:"last_ns,omitempty"`
	Packets   uint64  `json:"packets,omitempty"`
	Dropped   uint64  `json:"dropped,omitempty"` // by the kernel, dated by the chunk's notes
	CutPolicy uint64  `json:"cut_policy,omitempty"`
	CutLimit  uint64  `json:"cut_limit,omitempty"`
	Counts    []Count `json:"counts,omitempty"` // of the interfaces that have packets here
}

// Count is the number of packets of one interface.
type Count struct {
	ID      uint32 `json:"id"`
	Packets uint64 `json:"packets"`
}

// A local-use block's body begins with this magic and a kind, so that foreign local-use blocks are told from ours.
const (
	localMagic   = 0x53474E52 // "RNGS"
	localNote    = 1
	localSummary = 2
	localHeader  = 12 // magic, kind, length of the JSON text
)

// ErrNotOurs is returned for a local-use block that another program wrote.
var ErrNotOurs = errors.New("local-use block of another program")

// AppendNote appends n as a local-use block, which other tools skip.
func AppendNote(dst []byte, n Note) []byte { return appendLocal(dst, localNote, n, 0) }

// AppendSummary appends s as a local-use block padded so that the result is a multiple of PageSize long, counted from
// the start of dst, which must be the start of a page.
func AppendSummary(dst []byte, s Summary) []byte { return appendLocal(dst, localSummary, s, PageSize) }

func appendLocal(dst []byte, kind uint32, v any, align int) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("pcapng: " + err.Error()) // plain structs of numbers and strings: cannot fail
	}
	start := len(dst)
	dst = beginBlock(dst, TypeLocal)
	dst = le.AppendUint32(dst, localMagic)
	dst = le.AppendUint32(dst, kind)
	dst = le.AppendUint32(dst, uint32(len(text)))
	dst = append(dst, text...)
	dst = appendZeros(dst, -len(text)&3)
	if align > 0 {
		dst = appendZeros(dst, (align-(len(dst)+4)%align)%align)
	}
	return endBlock(dst, start)
}

// Note decodes a note. It returns ErrNotOurs if the block is no note of Ringside's.
func (b Block) Note() (n Note, err error) { return n, b.local(localNote, &n) }

// Summary decodes the summary at the end of a chunk. It returns ErrNotOurs if the block is none.
func (b Block) Summary() (s Summary, err error) { return s, b.local(localSummary, &s) }

func (b Block) local(kind uint32, v any) error {
	if b.Type != TypeLocal || len(b.Body) < localHeader || le.Uint32(b.Body) != localMagic || le.Uint32(b.Body[4:]) != kind {
		return ErrNotOurs
	}
	n := le.Uint32(b.Body[8:])
	if uint64(n) > uint64(len(b.Body)-localHeader) {
		return fmt.Errorf("local-use block: text of %d bytes in a body of %d", n, len(b.Body))
	}
	return json.Unmarshal(b.Body[localHeader:localHeader+n], v)
}
