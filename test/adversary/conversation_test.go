package adversary

import (
	"net/netip"
	"time"
)

// Round trip of conversations, and what a host takes to answer by itself.
const (
	roundTrip = 2 * time.Millisecond
	instant   = 40 * time.Microsecond
	mss       = 1448 // bytes, with timestamps
)

// conversation is a TCP connection that is being scripted. Its steps take the time when they begin, at the client's side
// of the path, and return when they are over.
type conversation struct {
	tape   *tape
	client peer
	server peer
	rtt    time.Duration
	hops   []hop // where it is seen, from the client's side to the server's
	old    bool  // without timestamps, as some still are
}

// peer is one end.
type peer struct {
	addr netip.AddrPort
	ttl  uint8 // where it is seen
	next uint32
	id   uint16
	tick uint32 // its clock of timestamps at the beginning, in ms
}

// hop is a place where packets are seen, after the one before it.
type hop struct {
	link   string
	client netip.AddrPort // as it is known there; zero: by its own address
	server netip.AddrPort // the same
	loss   uint8          // hops that the client's packets have gone by then, and the server's have not
}

// uplink is the one place where most captures are made.
var uplink = []hop{{link: "eth0"}}

// Addresses of the cases.
var (
	node     = netip.MustParseAddr("10.0.3.17")
	database = netip.MustParseAddrPort("10.99.0.5:5432")
	cache    = netip.MustParseAddrPort("10.99.0.6:6379")
	web      = netip.MustParseAddrPort("203.0.113.80:443")
)

func pod(n int) netip.Addr      { return netip.AddrFrom4([4]byte{10, 20, 1, byte(10 + n)}) }
func stranger(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}) }

// port is one that no conversation of the tape has yet.
func (t *tape) port() uint16 {
	t.ports += uint16(1 + t.IntN(5))
	return t.ports
}

// talk is a conversation of an address with a server, from a new port. Clients of the node are forwarded: they have lost
// a hop.
func (t *tape) talk(from netip.Addr, server netip.AddrPort) *conversation {
	return &conversation{
		tape: t, rtt: roundTrip + time.Duration(t.IntN(int(time.Millisecond))), hops: uplink,
		client: peer{addr: netip.AddrPortFrom(from, t.port()), ttl: 63, next: t.Uint32(), id: uint16(t.Uint32()), tick: t.Uint32() | 1<<20},
		server: peer{addr: server, ttl: 60, next: t.Uint32(), id: uint16(t.Uint32()), tick: t.Uint32() | 1<<20},
	}
}

// send writes one segment, at every hop; it moves its sender's sequence number on.
func (k *conversation) send(at time.Duration, fromClient bool, flags uint8, payload int) {
	from, to := &k.server, &k.client
	if fromClient {
		from, to = to, from
	}
	k.write(at, fromClient, flags, from.next, to.next, payload)
	from.next += uint32(payload)
	if flags&(syn|fin) != 0 {
		from.next++
	}
}

// write writes a segment as it is told to.
func (k *conversation) write(at time.Duration, fromClient bool, flags uint8, seq, acked uint32, payload int) {
	from, to := &k.server, &k.client
	if fromClient {
		from, to = to, from
	}
	from.id++
	if flags&ack == 0 {
		acked = 0
	}
	p := packet{
		file: k.tape.file, ttl: from.ttl, id: from.id, protocol: tcp, flags: flags, seq: seq, ack: acked, window: 501, payload: payload,
	}
	if !k.old && flags&rst == 0 {
		p.stamp = from.tick + uint32(at/time.Millisecond)
		if flags&ack != 0 {
			p.echo = to.tick + uint32((at-k.rtt)/time.Millisecond)
		}
	}
	if flags&syn != 0 {
		p.window = 64240
	}
	for n := range k.hops {
		h, step := k.hops[n], n
		if !fromClient {
			step = len(k.hops) - 1 - n
		}
		client, server := k.client.addr, k.server.addr
		if h.client.IsValid() {
			client = h.client
		}
		if h.server.IsValid() {
			server = h.server
		}
		q := p
		q.at, q.link, q.src, q.dst = at+time.Duration(step)*25*time.Microsecond, h.link, client, server
		if fromClient {
			q.ttl -= h.loss
		} else {
			q.src, q.dst = q.dst, q.src
			q.ttl -= k.hops[len(k.hops)-1].loss - h.loss
		}
		k.tape.packets = append(k.tape.packets, q)
	}
}

// open is a handshake.
func (k *conversation) open(at time.Duration) time.Duration {
	k.send(at, true, syn, 0)
	k.send(at+k.rtt, false, syn|ack, 0)
	k.send(at+k.rtt+instant, true, ack, 0)
	return at + k.rtt + 2*instant
}

// ask is a request and its answer, which takes the server a while.
func (k *conversation) ask(at time.Duration, request, answer int, thinks time.Duration) time.Duration {
	at = k.stream(at, true, request)
	return k.stream(at+k.rtt+thinks+instant, false, answer) + instant
}

// stream is bytes in one direction, in as many segments as it takes; every second one is acknowledged, and the last.
func (k *conversation) stream(at time.Duration, fromClient bool, bytes int) time.Duration {
	wait := instant / 4
	if fromClient {
		wait = k.rtt
	}
	for n := 1; bytes > 0; n++ {
		flags, size := uint8(ack), min(bytes, mss)
		if bytes -= size; bytes == 0 {
			flags |= psh
		}
		k.send(at, fromClient, flags, size)
		if n%2 == 0 || bytes == 0 {
			k.send(at+wait, !fromClient, ack, 0)
		}
		at += 15 * time.Microsecond
	}
	return at
}

// close is a FIN each way, the client's first or the server's.
func (k *conversation) close(at time.Duration, clientFirst bool) time.Duration {
	k.send(at, clientFirst, fin|ack, 0)
	k.send(at+k.rtt, !clientFirst, fin|ack, 0)
	k.send(at+k.rtt+instant, clientFirst, ack, 0)
	return at + k.rtt + 2*instant
}

// reset is an RST as a host's kernel makes it for a connection that its program gave up.
func (k *conversation) reset(at time.Duration, fromClient bool) time.Duration {
	k.send(at, fromClient, rst|ack, 0)
	return at + instant
}

// until asks again and again.
func (k *conversation) until(at, end, every time.Duration) time.Duration {
	for at < end {
		at = k.ask(at, 50+k.tape.IntN(600), 100+k.tape.IntN(5000), time.Duration(k.tape.IntN(int(3*time.Millisecond))))
		at += every/2 + time.Duration(k.tape.IntN(int(every)))
	}
	return at
}

// pool is what goes on beside every case: connections of pods that are kept, and new ones all the time. It gives back the
// ones that are kept, each with the time when it is free, all before end.
func (t *tape) pool(end time.Duration, hops func(*conversation)) (kept []*conversation) {
	each := func(from netip.Addr, server netip.AddrPort) *conversation {
		k := t.talk(from, server)
		if hops != nil {
			hops(k)
		}
		return k
	}
	for n := range 12 {
		server := database
		if n%2 == 0 {
			server = cache
		}
		k := each(node, server)
		k.until(k.open(time.Duration(n)*7*time.Millisecond), end, 180*time.Millisecond)
		kept = append(kept, k)
	}
	for at := 300 * time.Millisecond; at < end; at += time.Duration(200+t.IntN(300)) * time.Millisecond {
		k := each(node, cache)
		k.close(k.ask(k.open(at), 80, 900, time.Millisecond), true)
	}
	return kept
}
