package adversary

import (
	"net/netip"
	"time"

	"github.com/ringside/ringside/detect"
)

// What a node does every day, with its pods' links recorded beside its uplink: not all that enters a node leaves it.
var nodes = []scripted{
	{name: "pods that talk to each other", script: neighbours},
	{name: "pods that talk to each other by a service's address", script: service},
	{name: "pods that talk to the node itself", script: host},
	{name: "pods whose way out is not recorded", script: elsewhere},
	{name: "pods in an overlay", script: overlay},
	{name: "a data plane that goes around the pods' links on the way in", script: redirected},
	{name: "an uplink whose recording ends early", script: func(t *tape) { t.endsEarly("eth0") }, may: []detect.Class{detect.RecorderBlind}},
	{name: "a pod's link whose recording ends early", script: func(t *tape) { t.endsEarly("cali0") }, may: []detect.Class{detect.RecorderBlind}},
	{name: "a process of the node that dies", script: hostProcess, may: []detect.Class{detect.ClientExit}},
	{name: "a pod that is deleted", script: deleted, may: []detect.Class{detect.ClientExit, detect.PodGone}},
	{name: "a gateway that forgets idle connections", script: gateway, may: []detect.Class{detect.ServerIdleTimeout, detect.ServerRestart}},
	{name: "a balancer whose server is replaced", script: replaced, may: []detect.Class{detect.ServerRestart}},
	{name: "time-outs of clients that try again", script: impatient, may: []detect.Class{detect.ServerSlow}},
}

// beside is a pool that leaves through the uplink, its pods' links recorded.
func (t *tape) beside() []*conversation { return t.pool(length, t.translated("eth0", "cali0")) }

// within has conversations of pods go on for the whole tape.
func (t *tape) within(n int, server netip.AddrPort, hops ...hop) (list []*conversation) {
	for i := range n {
		k := t.talk(pod(i%3), server)
		k.hops, k.client.ttl, k.rtt = hops, 64, 80*time.Microsecond
		k.until(k.open(time.Duration(i)*20*time.Millisecond), length, 150*time.Millisecond)
		list = append(list, k)
	}
	for at := 500 * time.Millisecond; at < length; at += 350 * time.Millisecond {
		k := t.talk(pod(1), server)
		k.hops, k.client.ttl, k.rtt = hops, 64, 80*time.Microsecond
		k.close(k.ask(k.open(at), 90, 500, time.Millisecond), true)
	}
	return list
}

func neighbours(t *tape) {
	t.beside()
	t.within(8, netip.AddrPortFrom(pod(9), 8080), hop{link: "cali0"}, hop{link: "cali9", loss: 1})
}

func service(t *tape) {
	t.beside()
	name, pod := netip.MustParseAddrPort("10.96.0.10:80"), netip.AddrPortFrom(pod(9), 8080)
	t.within(8, name, hop{link: "cali0"}, hop{link: "cali9", server: pod, loss: 1})
}

func host(t *tape) {
	t.beside()
	t.within(8, netip.AddrPortFrom(node, 10250), hop{link: "cali0"})
}

func elsewhere(t *tape) {
	t.beside()
	t.within(8, netip.MustParseAddrPort("10.200.0.9:443"), hop{link: "cali0"})
}

// overlay: what pods send leaves in UDP.
func overlay(t *tape) {
	t.beside()
	t.within(8, netip.MustParseAddrPort("10.20.7.3:8080"), hop{link: "cali0"})
	for _, p := range t.packets {
		if p.link != "cali0" || p.dst.Port() != 8080 {
			continue
		}
		outer := packet{at: p.at + 30*time.Microsecond, link: "eth0", ttl: 64, protocol: udp, payload: 50 + p.payload}
		outer.src, outer.dst = netip.AddrPortFrom(node, p.src.Port()), netip.MustParseAddrPort("10.0.3.44:8472")
		t.packets = append(t.packets, outer)
	}
}

func redirected(t *tape) {
	t.beside()
	t.keep(func(p packet) bool { return p.link != "cali0" || !t.fromServer(p) })
}

func (t *tape) endsEarly(link string) {
	t.beside()
	t.keep(func(p packet) bool { return p.link != link || p.at < 10*time.Second })
}

// hostProcess: its RST have the TTL of the node's own packets, as everything else of it.
func hostProcess(t *tape) {
	t.beside()
	for n := range 10 {
		k := t.talk(node, database)
		k.client.ttl = 64
		k.until(k.open(time.Duration(n)*20*time.Millisecond), 9*time.Second, 150*time.Millisecond)
		k.write(9500*time.Millisecond+time.Duration(n)*instant, true, rst|ack, k.client.next, k.server.next, 0)
		again := t.talk(node, database)
		again.client.ttl = 64
		again.until(again.open(11*time.Second+time.Duration(n)*instant), length, 150*time.Millisecond)
	}
}

// deleted: the pod says goodbye on every connection, and is gone when servers answer: the node says that there is no such
// host.
func deleted(t *tape) {
	t.beside()
	for n := range 10 {
		k := t.talk(pod(5), cache)
		t.translated("eth0", "cali5")(k)
		at := k.until(k.open(time.Duration(n)*20*time.Millisecond), 9*time.Second, 150*time.Millisecond)
		at = max(at, 9500*time.Millisecond)
		k.send(at, true, fin|ack, 0)
		k.hops = k.hops[1:]
		k.send(at+k.rtt, false, ack, 0)
		for i := range 3 {
			k.write(at+k.rtt+time.Duration(i)*200*time.Millisecond, false, fin|ack, k.server.next, k.client.next, 0)
			last := t.packets[len(t.packets)-1]
			t.packets = append(t.packets, packet{
				at: last.at + instant, link: "eth0", ttl: 64, protocol: icmp, code: 1, quote: &last,
				src: netip.AddrPortFrom(node, 0), dst: netip.AddrPortFrom(last.src.Addr(), 0),
			})
		}
	}
}

// gateway: what comes after a long silence is answered with RST by a machine on the way, which is nearer than the server.
func gateway(t *tape) {
	t.beside()
	for n := range 8 {
		k := t.talk(pod(n%3), web)
		t.translated("eth0", "cali0")(k)
		at := k.ask(k.open(time.Duration(n)*30*time.Millisecond), 200, 900, time.Millisecond)
		at += 12*time.Second + time.Duration(n)*400*time.Millisecond
		k.send(at, true, psh|ack, 300)
		k.server.ttl = 254
		k.write(at+300*time.Microsecond, false, rst, k.server.next, 0, 0)
		next := t.talk(pod(n%3), web)
		t.translated("eth0", "cali0")(next)
		next.until(next.open(at+time.Millisecond), length, 200*time.Millisecond)
	}
}

// replaced: another machine gets the segments from one moment on, and knows none of the connections.
func replaced(t *tape) {
	for n, k := range t.pool(8*time.Second, t.translated("eth0", "cali0")) {
		at := 9*time.Second + time.Duration(n)*70*time.Millisecond
		k.send(at, true, psh|ack, 300)
		k.server.ttl = 61
		k.write(at+k.rtt, false, rst, k.server.next, 0, 0)
		next := t.talk(pod(n%3), k.server.addr)
		t.translated("eth0", "cali0")(next)
		next.server.ttl = 61
		next.until(next.open(at+10*time.Millisecond), length, 150*time.Millisecond)
	}
}

// impatient: answers take longer than clients wait, who end the connection and ask again on another.
func impatient(t *tape) {
	t.beside()
	for n := range 6 {
		for at := time.Duration(n) * 100 * time.Millisecond; at < length; {
			k := t.talk(pod(n%3), web)
			t.translated("eth0", "cali0")(k)
			at = k.stream(k.open(at), true, 300) + k.rtt + 1500*time.Millisecond
			k.send(at, true, fin|ack, 0)
			k.send(at+k.rtt, false, ack, 0)
			k.stream(at+400*time.Millisecond, false, 500)
			k.write(at+400*time.Millisecond+instant, true, rst, k.client.next, 0, 0)
			at += 50 * time.Millisecond
		}
	}
}
