package adversary

import (
	"net/netip"
	"time"

	"github.com/ringside/ringside/detect"
)

// The traffic is sound, and the recording is not, or shows it from several places.
var recordings = []scripted{
	{name: "only what clients send", script: func(t *tape) { t.pool(length, nil); t.keep(func(p packet) bool { return !t.fromServer(p) }) }},
	{name: "only what servers send", script: func(t *tape) { t.pool(length, nil); t.keep(t.fromServer) }},
	{name: "three packets in ten are missing", script: func(t *tape) { t.pool(length, nil); t.keep(func(packet) bool { return t.IntN(10) >= 3 }) },
		may: []detect.Class{detect.RecorderBlind}},
	{name: "two seconds are missing", script: func(t *tape) {
		t.pool(length, nil)
		t.keep(func(p packet) bool { return p.at < 9*time.Second || p.at > 11*time.Second })
	}, may: []detect.Class{detect.RecorderBlind}},
	{name: "a mirror port: every packet twice", script: mirrored},
	{name: "a mirror of both sides of a router", script: routed},
	{name: "all interfaces of a node that translates, unnamed", script: func(t *tape) { t.pool(length, t.translated("", "")) }},
	{name: "all interfaces of a node that translates, named", script: func(t *tape) { t.pool(length, t.translated("eth0", "cali0")) }},
	{name: "a load balancer on one leg", script: oneLeg},
	{name: "two captures of different days, ports used again", script: days},
	{name: "a bond of two, by connection", script: func(t *tape) {
		t.pool(length, nil)
		t.spread(func(p packet) uint16 { return p.src.Port() ^ p.dst.Port() })
	}},
	{name: "a bond of two, by packet", script: func(t *tape) {
		t.pool(length, nil)
		n := uint16(0)
		t.spread(func(packet) uint16 { n++; return n })
	}, may: []detect.Class{detect.RecorderBlind}},
	{name: "the way back is another one", script: func(t *tape) {
		t.pool(length, nil)
		t.spread(func(p packet) uint16 {
			if t.fromServer(p) {
				return 1
			}
			return 0
		})
	}},
	{name: "a path that changes once", script: func(t *tape) {
		t.pool(length, nil)
		t.spread(func(p packet) uint16 { return uint16(p.at / (10 * time.Second)) })
	}},
	{name: "a router that reorders", script: func(t *tape) {
		t.pool(length, nil)
		for n := range t.packets {
			if t.IntN(20) == 0 {
				t.packets[n].at += time.Duration(t.IntN(3000)) * time.Microsecond
			}
		}
	}, may: []detect.Class{detect.PathLoss}},
	{name: "a capture that ends in the middle", script: func(t *tape) { t.pool(length, nil); t.keep(func(p packet) bool { return p.at < 7*time.Second }) }},
}

func (t *tape) keep(f func(packet) bool) {
	var kept []packet
	for _, p := range t.packets {
		if f(p) {
			kept = append(kept, p)
		}
	}
	t.packets = kept
}

func (t *tape) fromServer(p packet) bool {
	return p.src == database || p.src == cache || p.src == web
}

func mirrored(t *tape) {
	t.pool(length, nil)
	for _, p := range t.packets {
		p.at += time.Duration(1+t.IntN(30)) * time.Microsecond
		t.packets = append(t.packets, p)
	}
}

func routed(t *tape) {
	t.pool(length, nil)
	for _, p := range t.packets {
		p.at += time.Duration(5+t.IntN(200)) * time.Microsecond
		p.ttl--
		t.packets = append(t.packets, p)
	}
}

// translated has each conversation seen twice: as the pod's, and as the node's from a port of its choice. What continues
// another's numbers from another port to the same server is that conversation itself.
func (t *tape) translated(outer, inner string) func(*conversation) {
	n := 0
	return func(k *conversation) {
		n++
		inside := netip.AddrPortFrom(pod(n%3), k.client.addr.Port())
		outside := netip.AddrPortFrom(node, t.port())
		k.client.ttl = 64
		k.hops = []hop{{link: inner, client: inside}, {link: outer, client: outside, loss: 1}}
	}
}

// oneLeg: what comes for the balancer's address goes out of the same interface to a server, the client's address kept.
func oneLeg(t *tape) {
	t.pool(length, func(k *conversation) {
		k.client.addr = netip.AddrPortFrom(stranger(int(k.client.addr.Port()%5)), k.client.addr.Port())
	})
	balancer := netip.MustParseAddr("10.99.0.100")
	for _, p := range t.packets {
		p.at += 30 * time.Microsecond
		p.ttl--
		if t.fromServer(p) {
			p.src = netip.AddrPortFrom(balancer, p.src.Port())
		} else {
			p.dst = netip.AddrPortFrom(balancer, p.dst.Port())
		}
		t.packets = append(t.packets, p)
	}
}

// days: the first capture ends in the middle of all conversations; in the second the same ports talk of something else, and
// some go on from other ports, as days have passed.
func days(t *tape) {
	kept := t.pool(10*time.Second, nil)
	t.file = 1
	const later = 49 * time.Hour
	for n, k := range kept {
		k.client.next += t.Uint32()
		k.server.next += t.Uint32()
		if n%3 == 0 {
			k.client.addr = netip.AddrPortFrom(node, t.port())
		}
		k.until(later+time.Duration(n)*10*time.Millisecond, later+10*time.Second, 150*time.Millisecond)
	}
}

// spread parts the packets between two interfaces.
func (t *tape) spread(by func(packet) uint16) {
	for n := range t.packets {
		if by(t.packets[n])%2 == 1 {
			t.packets[n].link = "eth1"
		}
	}
}
