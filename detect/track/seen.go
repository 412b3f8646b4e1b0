package track

import (
	"time"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/sequence"
)

// News is what a packet has done to its conversation.
type News uint32

const (
	Begun     News = 1 << iota // the conversation was not known
	MidStream                  // and begins after its handshake
	SYN                        // a SYN of the client
	SYNAgain                   // one that was sent before
	Accepted                   // the first SYN with ACK
	Connected                  // the handshake is complete: Value is its time in ns since the first SYN
	Refused                    // the server answered a SYN with RST
	Reset                      // any other RST, the first of its side
	Finished                   // the first FIN of its side
	Again                      // a segment sent again
	Answer                     // the first payload after a request: Value is the time in ns since the request
	Request                    // the first payload after an answer
	Zero                       // the window was closed
	Reused                     // a SYN of another connection with the same addresses and ports: Before was that
	Progress                   // it acknowledges something after the other side had sent it again: Value is for how long in ns nothing was acknowledged
	Data                       // payload that was not seen before
	Survived                   // after a pause of a second or more, the other side has answered: PausedAt and WentOn
)

// Seen is what became of a packet. It is the table's, until the next one.
type Seen struct {
	*Conversation
	From   int // the side that sent it
	News   News
	Flags  sequence.Flags
	Value  int64 // ns, of Connected, Answer or Progress
	Packet *frame.Packet
	Before Conversation // of Reused: what it was
	Since  int64        // ns, since the packet before of the same side; 0 for its first
}

// take brings the conversation up to date with a packet of a side.
func (c *Conversation) take(s *Seen, p *frame.Packet) {
	from := s.From
	h, other := &c.Half[from], &c.Half[1-from]
	s.Flags = c.order.Next(from, p)
	c.pause(s, p)
	c.Last = max(c.Last, p.Time)
	if h.Packets == 0 {
		h.First = p.Time
	}
	h.Packets++
	if s.Since = 0; h.Last != 0 {
		s.Since = p.Time - h.Last
	}
	h.Last, h.Number = p.Time, p.Number
	if p.Flags&frame.RST != 0 {
		c.reset(s, p)
		return
	}
	h.TTL, h.Stamped, h.Zero = p.TTL, p.Stamped || h.Stamped && p.Cut, false
	if p.Stamped {
		h.Stamp = p.TSVal
	}
	if p.Flags&frame.ACK != 0 {
		c.acknowledge(s, h, other, p)
	}
	if p.Flags&frame.SYN != 0 {
		c.handshake(s, h, p)
	} else {
		c.data(s, h, other, p)
	}
	if p.Flags&frame.FIN != 0 && h.FIN == 0 {
		h.FIN = p.Time
		s.News |= Finished
	}
	if p.Window == 0 && p.Flags&(frame.SYN|frame.FIN) == 0 {
		h.Zero = true
		s.News |= Zero
	}
}

// aPause is a silence that is kept in mind, in ns.
const aPause = int64(time.Second)

func (c *Conversation) pause(s *Seen, p *frame.Packet) {
	switch {
	case c.Last != 0 && p.Time-c.Last >= aPause:
		c.PausedAt, c.WentOn, c.paused, c.wentOn = c.Last, p.Time, true, uint8(s.From)
	case c.paused && int(c.wentOn) != s.From:
		c.paused = false
		if p.Flags&frame.RST == 0 && c.Half[s.From].Packets > 0 {
			s.News |= Survived
		}
	}
}

func (c *Conversation) reset(s *Seen, p *frame.Packet) {
	h := &c.Half[s.From]
	if h.RST != 0 {
		return
	}
	h.RST, h.ResetTTL = p.Time, p.TTL
	if s.From == Server && c.Opened != 0 && c.Accepted == 0 && c.Half[Client].Bytes == 0 {
		s.News |= Refused
		return
	}
	s.News |= Reset
}

// acknowledge takes over what a packet says of the other side.
func (c *Conversation) acknowledge(s *Seen, h, other *Half, p *frame.Packet) {
	h.Ack = p.Ack
	h.known |= knowAck
	if other.known&knowAcked == 0 || Less(other.Acked, p.Ack) && p.Ack-other.Acked < 1<<30 {
		if other.Repeated > 0 {
			s.News |= Progress
			s.Value = p.Time - other.RepeatedAt
			if other.Waiting != 0 {
				s.Value = p.Time - other.Waiting
			}
		}
		other.Acked, other.Progress, other.Repeated, other.RepeatedAt = p.Ack, p.Time, 0, 0
		other.known |= knowAcked
		if other.known&knowNext != 0 && !Less(p.Ack, other.Next) {
			other.Waiting = 0
		} else if other.Waiting != 0 {
			other.Waiting = other.Data // no older than that
		}
	}
	if c.Accepted != 0 && c.Connected == 0 && s.From == Client && p.Flags&frame.SYN == 0 {
		c.Connected = p.Time
		if c.Opened != 0 {
			s.News |= Connected
			s.Value = p.Time - c.Opened
		}
	}
}

// aCopy is how soon after a packet the same one is a copy that the capture holds, in ns: nobody sends again as soon.
const aCopy = int64(5 * time.Millisecond)

func (c *Conversation) handshake(s *Seen, h *Half, p *frame.Packet) {
	h.note(p.Seq, p.Seq+1)
	if s.From == Client {
		if c.SYNs > 0 && p.Time-c.LastSYN < aCopy {
			return
		}
		s.News |= SYN
		if c.SYNs > 0 {
			s.News |= SYNAgain
		} else {
			c.Opened = p.Time
		}
		c.SYNs++
		c.LastSYN = p.Time
		return
	}
	if c.Accepted == 0 {
		c.Accepted = p.Time
		s.News |= Accepted
	}
}

// data takes over what a segment carries.
func (c *Conversation) data(s *Seen, h, other *Half, p *frame.Packet) {
	if p.Payload == 0 {
		h.note(p.Seq, p.End())
		return
	}
	if s.Flags&sequence.KeepAlive != 0 {
		return
	}
	h.Bytes += uint64(p.Payload)
	again := h.known&knowNext != 0 && !Less(h.Next, p.End())
	h.note(p.Seq, p.End())
	if again || s.Flags&sequence.Retransmission != 0 {
		if s.Flags&(sequence.OutOfOrder) == 0 && (s.Since >= aCopy || p.End() != h.Next) {
			h.Again++
			s.News |= Again
			if h.known&knowAcked == 0 || Less(h.Acked, p.End()) {
				if h.Repeated == 0 {
					h.RepeatedAt = p.Time
				}
				h.Repeated++
			}
		}
		return
	}
	s.News |= Data
	h.Data = p.Time
	if h.Waiting == 0 {
		h.Waiting = p.Time
	}
	if s.From == Client {
		if c.Asked == 0 {
			c.Asked = p.Time
			s.News |= Request
		}
	} else if c.Asked != 0 {
		s.News |= Answer
		s.Value = p.Time - c.Asked
		c.Asked = 0
	}
	_ = other
}

// note widens what is known to be sent. Numbers that are far off are those of another connection, or made up.
func (h *Half) note(from, to uint32) {
	if h.known&knowNext == 0 {
		h.Base, h.Next = from, to
		h.known |= knowNext
		return
	}
	if Less(h.Next, to) && to-h.Next < 1<<28 {
		h.Next = to
	}
}
