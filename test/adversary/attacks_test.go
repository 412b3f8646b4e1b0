package adversary

import (
	"net/netip"
	"time"

	"github.com/ringside/ringside/detect"
)

// Somebody means harm, or looks around.
var attacks = []scripted{
	{name: "port scan of a server", script: scan, may: []detect.Class{detect.ConnectRejected}},
	{name: "port scan of the node", script: scanned, may: []detect.Class{detect.ConnectRejected}},
	{name: "scan that nobody answers", script: scanDropped, may: []detect.Class{detect.ConnectDropped}},
	{name: "SYN flood", script: flood, may: []detect.Class{detect.ConnectDropped, detect.ServerOverload}},
	{name: "backscatter of a SYN flood elsewhere", script: backscatter},
	{name: "ACK scan", script: ackScan, may: []detect.Class{detect.ServerRestart}},
	{name: "spoofed RST, out of the window", script: spoofedOutside},
	{name: "spoofed RST that end connections", script: spoofedInside, may: []detect.Class{detect.ServerRestart}},
	{name: "spoofed RST of the client", script: spoofedClient, may: []detect.Class{detect.ClientExit, detect.ServerRestart}},
	{name: "spoofed SYN into connections", script: spoofedSYN},
}

const length = 20 * time.Second // of most tapes

// probe is a SYN to a port that is answered by RST.
func (t *tape) probe(at time.Duration, from netip.Addr, to netip.AddrPort, client, server uint8, open bool) {
	k := t.talk(from, to)
	k.client.ttl, k.server.ttl, k.old = client, server, true
	k.send(at, true, syn, 0)
	if !open {
		k.send(at+k.rtt, false, rst|ack, 0)
		return
	}
	k.send(at+k.rtt, false, syn|ack, 0)
	k.send(at+k.rtt+instant, true, rst, 0)
}

func scan(t *tape) {
	t.pool(length, nil)
	for n := range 2000 {
		to := netip.AddrPortFrom(database.Addr(), uint16(n+1))
		t.probe(8*time.Second+time.Duration(n)*time.Millisecond, node, to, 63, 60, n%400 == 21)
	}
}

// scanned: the RST leave the node itself, with the TTL of its own packets.
func scanned(t *tape) {
	t.pool(length, nil)
	for n := range 2000 {
		t.probe(8*time.Second+time.Duration(n)*time.Millisecond, stranger(1), netip.AddrPortFrom(node, uint16(n+1)), 47, 64, n%400 == 21)
	}
}

func scanDropped(t *tape) {
	t.pool(length, nil)
	for n := range 1000 {
		k := t.talk(stranger(1), netip.AddrPortFrom(node, uint16(n+1)))
		k.client.ttl = 47
		k.send(8*time.Second+time.Duration(n)*3*time.Millisecond, true, syn, 0)
	}
}

// flood: the addresses are of hosts that know nothing of it; some answer the SYN-ACK with RST.
func flood(t *tape) {
	t.pool(length, nil)
	for n := range 5000 {
		at := 6*time.Second + time.Duration(n)*time.Millisecond
		k := t.talk(stranger(t.IntN(60000)), netip.AddrPortFrom(node, 443))
		k.client.ttl, k.server.ttl, k.rtt = uint8(40+t.IntN(15)), 64, time.Duration(20+t.IntN(100))*time.Millisecond
		k.send(at, true, syn, 0)
		if n%3 > 0 {
			k.send(at+instant, false, syn|ack, 0)
		}
		if n%7 == 1 {
			k.send(at+k.rtt, true, rst, 0)
		}
	}
}

// backscatter: SYN-ACK and RST of hosts that were attacked in the node's name; its kernel answers the former with RST.
func backscatter(t *tape) {
	t.pool(length, nil)
	for n := range 500 {
		at := 6*time.Second + time.Duration(n)*8*time.Millisecond
		k := t.talk(node, netip.AddrPortFrom(stranger(n%40), 80))
		k.client.ttl, k.server.ttl = 64, 49
		if n%2 == 0 {
			k.send(at, false, syn|ack, 0)
			k.write(at+instant, true, rst, k.server.next, 0, 0)
		} else {
			k.send(at, false, rst|ack, 0)
		}
	}
}

// ackScan: segments in the middle of connections that are none, answered by RST.
func ackScan(t *tape) {
	t.pool(length, nil)
	for n := range 1000 {
		at := 8*time.Second + time.Duration(n)*2*time.Millisecond
		k := t.talk(stranger(1), netip.AddrPortFrom(node, uint16(n+1)))
		k.client.ttl, k.server.ttl, k.old = 47, 64, true
		k.send(at, true, ack, 0)
		k.write(at+instant, false, rst, k.server.next, 0, 0)
	}
}

// spoofed writes resets beside connections that know nothing of them.
func (t *tape) spoofed(fromClient bool, ttl uint8, off uint32) (kept []*conversation) {
	kept = t.pool(8*time.Second, nil)
	for n, k := range kept {
		forged := *k
		forged.client.ttl, forged.server.ttl = ttl, ttl
		from := k.server.next
		if fromClient {
			from = k.client.next
		}
		forged.write(9*time.Second+time.Duration(n)*20*time.Millisecond, fromClient, rst, from+off, 0, 0)
	}
	return kept
}

func spoofedOutside(t *tape) {
	for _, k := range t.spoofed(false, 102, 1<<30) {
		k.until(10*time.Second, length, 150*time.Millisecond)
	}
}

// again is new connections in the place of those that ended.
func (t *tape) again(ended []*conversation, at time.Duration) {
	for n, k := range ended {
		next := t.talk(k.client.addr.Addr(), k.server.addr)
		next.until(next.open(at+time.Duration(n)*30*time.Millisecond), length, 150*time.Millisecond)
	}
}

// spoofedInside: the client's pod believes it.
func spoofedInside(t *tape) { t.again(t.spoofed(false, 102, 0), 9500*time.Millisecond) }

// spoofedClient: an attacker beside the node resets its connections in the name of its clients.
func spoofedClient(t *tape) { t.again(t.spoofed(true, 128, 0), 9500*time.Millisecond) }

// spoofedSYN: the ends answer with an acknowledgement of what they know (RFC 5961, section 4), and go on.
func spoofedSYN(t *tape) {
	for n, k := range t.pool(8*time.Second, nil) {
		at := 9*time.Second + time.Duration(n)*15*time.Millisecond
		k.write(at, true, syn, t.Uint32(), 0, 0)
		k.write(at+k.rtt, false, ack, k.server.next, k.client.next, 0)
		k.until(10*time.Second, length, 150*time.Millisecond)
	}
}
