package track

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/ringside/ringside/detect/frame"
)

// Table is the conversations that are followed. It is not safe for concurrent use.
type Table struct {
	// Serves weighs whether an endpoint is a server's, for conversations seen from their middle; nil: nobody knows.
	Serves func(frame.Endpoint) int
	// Name gives the number of a server's service; nil: 0.
	Name func(frame.Endpoint) uint16
	// Gone is told of a conversation that gives way to another, before it does; may be nil.
	Gone func(*Conversation)

	blocks  [][]Conversation // allocated as needed
	length  int
	index   []entry // open addressing
	limit   int
	hand    int // where the next victim is looked for
	serial  uint64
	seed    uint64
	seen    Seen
	touched uint64 // means nothing; what is added to it is not left out by the compiler
	Evicted uint64
	Total   uint64
}

// entry is a place of the index.
type entry struct {
	hash     uint32 // its upper half
	position uint32 // of the conversation, from 1; 0: free
}

// at is the conversation at a position.
func (t *Table) at(position int) *Conversation {
	return &t.blocks[position/blockSize][position%blockSize]
}

// blockSize is how many conversations are allocated at a time.
const blockSize = 256

// NewTable returns an empty table for at most limit conversations.
func NewTable(limit int) *Table {
	return &Table{index: make([]entry, 32), limit: max(limit, 1), seed: rand.Uint64()}
}

// Len is how many conversations there are.
func (t *Table) Len() int { return t.length }

// Expect is told of the packets that come next, Ahead at most, and notes the hashes that Packet is to be given. It looks for all
// their conversations at once: memory then answers for all in the time that it takes for one.
func (t *Table) Expect(batch []frame.Packet, hashes *[Ahead]uint64) {
	mask := uint64(len(t.index) - 1)
	var positions [Ahead]uint32
	for i := range batch {
		hashes[i] = t.Hash(&batch[i])
	}
	for i := range batch { // in a loop of its own: the shorter it is, the more of it the processor does at once
		positions[i] = t.index[hashes[i]&mask].position
	}
	for _, at := range positions[:len(batch)] {
		if at != 0 {
			t.touched += t.at(int(at) - 1).touch()
		}
	}
}

// Ahead is how many packets Expect takes at most.
const Ahead = 32

// Packet takes a TCP packet and its hash, and returns nil for one that says nothing of a conversation: an RST of one that is
// not known begins none.
func (t *Table) Packet(p *frame.Packet, h uint64) *Seen {
	s := &t.seen
	s.News, s.Flags, s.Value, s.Packet = 0, 0, 0, p
	c := t.find(h, p)
	if c == nil {
		if p.Flags&frame.RST != 0 {
			return nil
		}
		c = t.begin(h, p)
		s.News |= Begun
		if c.MidStream() && p.Flags&frame.SYN == 0 {
			s.News |= MidStream
		}
	}
	s.Conversation = c
	s.From = Client
	if c.Client != p.Src {
		s.From = Server
	}
	if p.Flags&(frame.SYN|frame.ACK) == frame.SYN && s.News&Begun == 0 && t.again(c, s.From, p) {
		if c.Live() && c.Talked() && p.Time-c.Last < anotherAfter {
			c.offered, c.offeredAt, c.offeredBy = p.Seq, p.Time, p.Src
			s.Flags = c.order.Next(s.From, p)
			return s
		}
		s.Before = *c
		t.renew(c, p)
		s.News |= Reused | Begun
		s.From = Client
	}
	if p.Has(frame.SYN|frame.ACK) && c.offeredAt != 0 && p.Ack == c.offered+1 && p.Dst == c.offeredBy {
		s.Before = *c
		syn := frame.Packet{Time: c.offeredAt, Vantage: p.Vantage, Src: p.Dst, Dst: p.Src, Seq: c.offered, Flags: frame.SYN, TTL: c.Half[s.Before.sideOf(p.Dst)].TTL}
		t.renew(c, &syn)
		s.From = Client
		c.take(s, &syn)
		s.From, s.Packet = Server, p
		s.News |= Reused | Begun
	}
	if s.News&Begun == 0 && foreign(c, s.From, p) {
		s.Before = *c
		t.renew(c, p)
		c.Client, c.Server, c.Guessed = s.Before.Client, s.Before.Server, true
		c.server, c.Service = s.Before.server, s.Before.Service
		s.News |= Reused | Begun | MidStream
	}
	c.take(s, p)
	return s
}

// foreign says whether a segment is of another connection than the one it fits by its addresses and ports, whose beginning
// was not seen: both its numbers are far from what that one had, which is over, or silent.
func foreign(c *Conversation, from int, p *frame.Packet) bool {
	const near, silence = 1 << 24, int64(time.Second)
	h, other := &c.Half[from], &c.Half[1-from]
	if p.Seq-h.Next+near <= 2*near || p.Ack-other.Next+near <= 2*near || p.Flags&(frame.SYN|frame.RST|frame.ACK) != frame.ACK {
		return false
	}
	return h.KnowsNext() && other.KnowsNext() && (!c.Live() || p.Time-c.Last >= silence)
}

// anotherAfter is for how long a connection that lives must have been silent, in ns, for a SYN with its addresses and
// ports to be another's at once. Sooner, it may be made up, and is believed when it is answered (RFC 5961, section 4).
const anotherAfter = int64(10 * time.Second)

func (c *Conversation) sideOf(e frame.Endpoint) int {
	if c.Client == e {
		return Client
	}
	return Server
}

// again says whether a SYN begins another connection than the one it fits by its addresses.
func (t *Table) again(c *Conversation, from int, p *frame.Packet) bool {
	h := &c.Half[from]
	if from == Client && c.Opened != 0 && h.KnowsNext() && p.Seq == h.Base {
		return false // the same SYN
	}
	return h.Packets > 0 || !c.Live() || c.Connected != 0
}

func (t *Table) renew(c *Conversation, p *frame.Packet) {
	next := Conversation{Serial: t.next(), Vantage: p.Vantage, Client: p.Src, Server: p.Dst, First: p.Time, Number: p.Number, server: c.server, Service: c.Service}
	if c.Client != p.Src { // the other side opens it now
		next.server = t.hashServer(p.Vantage, p.Dst)
		if t.Name != nil {
			next.Service = t.Name(p.Dst)
		}
	}
	*c = next
}

func (t *Table) next() uint64 {
	t.serial++
	t.Total++
	return t.serial
}

func (t *Table) find(h uint64, p *frame.Packet) *Conversation {
	mask := uint64(len(t.index) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		e := t.index[i]
		if e.position == 0 {
			return nil
		}
		if e.hash != uint32(h>>32) {
			continue
		}
		c := t.at(int(e.position) - 1)
		if c.Vantage == p.Vantage && (c.Client == p.Src && c.Server == p.Dst || c.Server == p.Src && c.Client == p.Dst) {
			return c
		}
	}
}

// begin makes room if need be, and a conversation of which p is the first packet.
func (t *Table) begin(h uint64, p *frame.Packet) *Conversation {
	var c *Conversation
	var position int
	if t.length < t.limit {
		if position = t.length; position%blockSize == 0 {
			t.blocks = append(t.blocks, make([]Conversation, min(blockSize, t.limit-position)))
		}
		if t.length++; t.length*2 > len(t.index) {
			t.grow()
		}
		c = t.at(position)
	} else {
		position = t.victim()
		c = t.at(position)
		if t.Gone != nil {
			t.Gone(c)
		}
		t.unlink(c, position)
		t.Evicted++
	}
	client, server, guessed := t.roles(p)
	*c = Conversation{Serial: t.next(), Vantage: p.Vantage, Client: client, Server: server, Guessed: guessed, First: p.Time, Number: p.Number}
	c.server = t.hashServer(c.Vantage, server)
	if t.Name != nil {
		c.Service = t.Name(server)
	}
	t.enter(h, position)
	return c
}

// enter puts a conversation into the index.
func (t *Table) enter(h uint64, position int) {
	mask := uint64(len(t.index) - 1)
	i := h & mask
	for t.index[i].position != 0 {
		i = (i + 1) & mask
	}
	t.index[i] = entry{uint32(h >> 32), uint32(position + 1)}
}

// grow doubles the index. It is no larger than it has to be, so that more of it is in the processor's caches.
func (t *Table) grow() {
	t.index = make([]entry, 2*len(t.index))
	for i := range t.length - 1 { // all but the one that is being made
		c := t.at(i)
		t.enter(t.hashOf(c.Vantage, &c.Client, &c.Server), i)
	}
}

// victim is the position of a conversation that is missed least: of a few, one that never came about or is over before
// one that lives, and the longest silent among equals.
func (t *Table) victim() int {
	const look, stride = 16, 101 // far apart: those next to each other began together
	best, worth := t.hand%t.length, int64(-1<<62)
	for range look {
		t.hand = (t.hand + stride) % t.length
		c := t.at(t.hand)
		age := -c.Last
		if c.Mark == 0 && (!c.Live() || !c.Talked()) {
			age += 1 << 60
		}
		if age > worth {
			best, worth = t.hand, age
		}
	}
	t.hand++
	return best
}

// unlink takes a conversation out of the index, and closes the hole (linear probing without tombstones).
func (t *Table) unlink(c *Conversation, position int) {
	mask := uint64(len(t.index) - 1)
	i := t.hashOf(c.Vantage, &c.Client, &c.Server) & mask
	for t.index[i].position != uint32(position+1) {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		if t.index[j].position == 0 {
			break
		}
		o := t.at(int(t.index[j].position) - 1)
		home := t.hashOf(o.Vantage, &o.Client, &o.Server) & mask
		if (j-home)&mask >= (j-i)&mask {
			t.index[i] = t.index[j]
			i = j
		}
	}
	t.index[i] = entry{}
}

// roles tells client from server: by the handshake, by whose port is a service's, by the lower port.
func (t *Table) roles(p *frame.Packet) (client, server frame.Endpoint, guessed bool) {
	switch {
	case p.Has(frame.SYN | frame.ACK):
		return p.Dst, p.Src, false
	case p.Has(frame.SYN):
		return p.Src, p.Dst, false
	}
	if t.Serves != nil {
		if from, to := t.Serves(p.Src), t.Serves(p.Dst); from != to {
			if from > to {
				return p.Dst, p.Src, true
			}
			return p.Src, p.Dst, true
		}
	}
	if p.Src.Port < p.Dst.Port {
		return p.Dst, p.Src, true
	}
	return p.Src, p.Dst, true
}

// Each calls f with every conversation.
func (t *Table) Each(f func(*Conversation)) {
	for _, b := range t.blocks {
		for i := range b {
			if b[i].Serial != 0 {
				f(&b[i])
			}
		}
	}
}

// SameServer says whether two conversations have the same server at the same vantage.
func (c *Conversation) SameServer(o *Conversation) bool { return c.server == o.server }

// Hash is that of a packet's conversation.
func (t *Table) Hash(p *frame.Packet) uint64 { return t.hashOf(p.Vantage, &p.Src, &p.Dst) }

// hashOf is the same for both directions.
func (t *Table) hashOf(vantage uint16, a, b *frame.Endpoint) uint64 {
	h := t.endpoint(a) + t.endpoint(b)
	return mix(h^uint64(vantage), 0x9E3779B97F4A7C15)
}

func (t *Table) hashServer(vantage uint16, e frame.Endpoint) uint64 {
	return mix(t.endpoint(&e)^uint64(vantage), 0xD6E8FEB86659FD93)
}

func (t *Table) endpoint(e *frame.Endpoint) uint64 {
	a, b := binary.LittleEndian.Uint64(e.Addr[:]), binary.LittleEndian.Uint64(e.Addr[8:])
	return mix(a^t.seed^uint64(e.Port)<<48, b^0xA0761D6478BD642F)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// Find returns the conversation between two endpoints at a vantage, whoever is the client, or nil.
func (t *Table) Find(vantage uint16, a, b frame.Endpoint) *Conversation {
	p := frame.Packet{Vantage: vantage, Src: a, Dst: b}
	return t.find(t.Hash(&p), &p)
}
