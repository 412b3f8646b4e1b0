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
// whoever keeps a pointer keeps Serial as well. Times are nanoseconds since 1970, 0 for never.
type Conversation struct {
	Serial  uint64 // unique; 0 is none
	Vantage uint16
	Service uint16 // as the detector numbers them
	Guessed bool   // who is the client was told from the ports alone
	Client  frame.Endpoint
	Server  frame.Endpoint

	First, Last int64
	Opened      int64 // the first SYN
	LastSYN     int64
	Connected   int64 // the handshake was complete; of one seen from its middle, 0
	Accepted    int64 // the first SYN with ACK
	SYNs        uint16
	Asked       int64  // the oldest request without an answer
	PausedAt    int64  // the last packet before the last pause of a second or more
	WentOn      int64  // the first packet after it
	paused      bool   // and the other side has not answered yet
	wentOn      uint8  // whose packet that was
	Number      uint64 // of the first frame

	Half [2]Half

	Inner, Outer *Conversation // check with Linked
	inner, outer uint64        // their serials when they were linked
	From         uint64        // serial of the conversation that this one is the continuation of; 0: none
	Moved        uint64        // serial of the one that continues this one; 0: none
	Mark         uint32        // bits of the detector's rules

	offered   uint32 // sequence number of a SYN into the middle of it, until somebody goes along
	offeredAt int64  // 0: there is none
	offeredBy frame.Endpoint

	order  sequence.State
	server uint64 // hash of vantage and server
}

// Half is what one side has sent.
type Half struct {
	Packets uint32
	Bytes   uint64 // of payload, those sent again as well

	Base, Next uint32 // sequence numbers: of the first packet, and behind everything sent
	Ack        uint32 // the last acknowledgement number it sent
	Acked      uint32 // the highest the other side has acknowledged
	known      uint8  // which of them are

	First, Last int64  // any packet
	Data        int64  // the last new payload
	Number      uint64 // of its last frame
	Progress    int64  // when the other side last acknowledged anything new
	Waiting     int64  // when the oldest payload that is not acknowledged was sent; 0: none is

	Again      uint32 // segments sent again
	Repeated   uint16 // times in a row, without an acknowledgement of anything new
	RepeatedAt int64  // the first of them
	FIN, RST   int64
	TTL        uint8 // of its last packet that was no RST
	ResetTTL   uint8 // of its first RST
	Stamped    bool  // it has timestamps
	Stamp      uint32
	Zero       bool // its last window was closed
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
