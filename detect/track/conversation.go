package track

import (
	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/sequence"
)

// Sides of a conversation.
const (
	Client = 0
	Server = 1
)

// Conversation is a TCP connection at a vantage. It is the table's, and is used for another connection when it was evicted:
// whoever keeps a pointer keeps Serial as well. Times are nanoseconds since 1970, 0 for never. What each packet needs comes
// first: memory is read in lines of 64 bytes (see touch).
type Conversation struct {
	Serial  uint64 // unique; 0 is none
	Vantage uint16
	Service uint16 // as the detector numbers them
	Guessed bool   // who is the client was told from the ports alone
	paused  bool   // the other side has not answered yet since WentOn
	wentOn  uint8  // whose packet that was
	Client  frame.Endpoint
	Server  frame.Endpoint
	Mark    uint32 // bits of the detector's rules
	Last    int64

	Asked        int64         // the oldest request without an answer
	Connected    int64         // the handshake was complete; of one seen from its middle, 0
	Accepted     int64         // the first SYN with ACK
	Inner, Outer *Conversation // as they were: use In and Out
	inner, outer uint64        // their serials then
	From         uint64        // serial of the conversation that this one is the continuation of; 0: none

	order sequence.State
	Half  [2]Half

	First    int64
	Opened   int64 // the first SYN
	LastSYN  int64
	PausedAt int64  // the last packet before the last pause of a second or more
	WentOn   int64  // the first packet after it
	Number   uint64 // of the first frame
	Moved    uint64 // serial of the one that continues this one; 0: none
	server   uint64 // hash of vantage and server

	offeredAt int64  // 0: there is none
	offered   uint32 // sequence number of a SYN into the middle of it, until somebody goes along
	offeredBy frame.Endpoint
	SYNs      uint16
}

// Half is what one side has sent. What each packet needs comes first.
type Half struct {
	Packets uint32
	Next    uint32 // sequence number behind everything sent
	Ack     uint32 // the last acknowledgement number it sent
	Acked   uint32 // the highest the other side has acknowledged
	Stamp   uint32
	known   uint8 // which of Next, Ack and Acked are
	TTL     uint8 // of its last packet that was no RST
	Stamped bool  // it has timestamps
	Zero    bool  // its last window was closed

	Bytes    uint64 // of payload, those sent again as well
	Last     int64  // any packet
	Number   uint64 // of its last frame
	Data     int64  // the last new payload
	Progress int64  // when the other side last acknowledged anything new
	Waiting  int64  // when the oldest payload that is not acknowledged was sent; 0: none is
	Repeated uint16 // times in a row, without an acknowledgement of anything new

	ResetTTL   uint8  // of its first RST
	Base       uint32 // sequence number of the first packet
	Again      uint32 // segments sent again
	First      int64  // any packet
	RepeatedAt int64  // the first that was repeated
	FIN, RST   int64
}

const (
	knowNext = 1 << iota
	knowAck
	knowAcked
)

// KnowsNext says whether Base and Next are known.
func (h *Half) KnowsNext() bool { return h.known&knowNext != 0 }

// KnowsAck says whether Ack is known.
func (h *Half) KnowsAck() bool { return h.known&knowAck != 0 }

// KnowsAcked says whether Acked is known.
func (h *Half) KnowsAcked() bool { return h.known&knowAcked != 0 }

// Outstanding is how many bytes were sent and are not acknowledged, as far as is known.
func (h *Half) Outstanding() uint32 {
	if h.known&(knowNext|knowAcked) != knowNext|knowAcked || Less(h.Next, h.Acked) {
		return 0
	}
	return h.Next - h.Acked
}

// Less compares sequence numbers (RFC 1982).
func Less(a, b uint32) bool { return int32(a-b) < 0 }

// MidStream says whether the conversation was first seen after its handshake.
func (c *Conversation) MidStream() bool { return c.Opened == 0 && c.Accepted == 0 }

// Live says whether neither side has ended it.
func (c *Conversation) Live() bool {
	return c.Half[0].FIN|c.Half[0].RST|c.Half[1].FIN|c.Half[1].RST == 0
}

// Talked says whether both sides have been seen, beyond a handshake that was refused.
func (c *Conversation) Talked() bool {
	return c.Half[Client].Packets > 0 && c.Half[Server].Packets > 0 && (c.Connected != 0 || c.MidStream())
}

// In is the same connection nearer to its client, or nil.
func (c *Conversation) In() *Conversation {
	if c.Inner != nil && c.Inner.Serial == c.inner {
		return c.Inner
	}
	return nil
}

// Out is the same connection nearer to its server, or nil.
func (c *Conversation) Out() *Conversation {
	if c.Outer != nil && c.Outer.Serial == c.outer {
		return c.Outer
	}
	return nil
}

// Join makes out what c is at a vantage nearer to its server.
func (c *Conversation) Join(out *Conversation) {
	c.Outer, c.outer = out, out.Serial
	out.Inner, out.inner = c, c.Serial
}

// touch reads a word of each cache line of what a packet needs.
func (c *Conversation) touch() uint64 {
	return c.Serial + uint64(c.Asked) + c.order.Touch() + uint64(c.Half[0].Packets) + uint64(c.Half[0].Waiting) + uint64(c.Half[1].Packets) + uint64(c.Half[1].Waiting)
}
