package adversary

import (
	"net/netip"
	"time"

	"github.com/ringside/ringside/detect"
)

// Nothing is wrong, or nothing of the node's.
var ordinary = []scripted{
	{name: "a pool and new connections", script: func(t *tape) { t.pool(length, nil) }},
	{name: "ports used again within TIME_WAIT", script: reuse},
	{name: "few source ports, again and again", script: fewPorts},
	{name: "sequence numbers that wrap", script: wrapping},
	{name: "health checks that end with RST", script: healthChecks},
	{name: "a server that ends kept connections", script: keepAliveEnd, may: []detect.Class{detect.ServerIdleTimeout}},
	{name: "a browser that closes six connections at once", script: browser},
	{name: "clients that end with RST", script: clientResets},
	{name: "servers that end with RST", script: serverResets},
	{name: "a client that goes away in the middle of answers", script: abandoned, may: []detect.Class{detect.ClientExit}},
	{name: "long polls", script: longPolls},
	{name: "chatty UDP", script: chatty},
	{name: "keepalives of idle pools", script: idlePools},
	{name: "windows that close", script: zeroWindows, may: []detect.Class{detect.ServerSlow}},
	{name: "connections older than the capture", script: older},
	{name: "connections without timestamps", script: unstamped},
	{name: "a slow reader that is pushed to", script: pushed},
	{name: "a roaming client", script: roaming},
	{name: "clients elsewhere whose translation is lost", script: rebinding, may: []detect.Class{detect.ClientExit}},
	{name: "a deployment that drains its connections", script: draining, may: []detect.Class{detect.ServerRestart}},
	{name: "two clients whose numbers are alike", script: twins},
}

// reuse: a client that has one port; the server lets a new connection in while the old one is in TIME_WAIT, as its sequence
// number is higher (RFC 6191).
func reuse(t *tape) {
	t.pool(length, nil)
	for n := range 20 {
		k := t.talk(node, web)
		for at := time.Duration(n) * 100 * time.Millisecond; at < length; at += 50 * time.Millisecond {
			at = k.close(k.ask(k.open(at), 200, 3000, time.Millisecond), n%2 == 0)
			k.client.next += 1 << 17
			k.server.next = t.Uint32()
			if n%5 == 0 { // the server still is in FIN_WAIT: it acknowledges, the client resets and tries again
				k.write(at+instant, true, syn, k.client.next, 0, 0)
				k.write(at+instant+k.rtt, false, ack, k.server.next, k.client.next-1<<17, 0)
				k.write(at+2*instant+k.rtt, true, rst, k.client.next-1<<17, 0, 0)
				at += time.Second
			}
		}
	}
}

func fewPorts(t *tape) {
	t.pool(length, nil)
	for n := range 4 {
		for at := time.Duration(n) * 50 * time.Millisecond; at < length; at += 300 * time.Millisecond {
			k := t.talk(node, netip.AddrPortFrom(database.Addr(), 2049))
			k.client.addr = netip.AddrPortFrom(node, uint16(800+n))
			at = k.reset(k.ask(k.open(at), 300, 20000, 0), true)
		}
	}
}

func wrapping(t *tape) {
	for n := range 12 {
		k := t.talk(node, database)
		k.client.next, k.server.next = -uint32(2000+500*n), -uint32(10000+3000*n)
		k.client.tick, k.server.tick = 1<<32-4000, 1<<32-9000
		k.until(k.open(time.Duration(n)*time.Millisecond), length, 100*time.Millisecond)
	}
}

// healthChecks: a load balancer opens, and resets as soon as it is answered.
func healthChecks(t *tape) {
	t.pool(length, nil)
	for at := time.Duration(0); at < length; at += time.Second {
		for n := range 30 {
			k := t.talk(stranger(n%3), netip.AddrPortFrom(node, uint16(30000+n)))
			k.client.ttl, k.server.ttl = 253, 64
			end := k.open(at + time.Duration(n)*3*time.Millisecond)
			switch n % 3 {
			case 0:
				k.reset(end, true)
			case 1:
				k.reset(k.ask(end, 60, 120, 0), true)
			case 2:
				k.close(k.ask(end, 60, 120, 0), true)
			}
		}
	}
}

// keepAliveEnd: the server ends what was idle for five seconds. One request in four was on its way then, and is reset.
func keepAliveEnd(t *tape) {
	t.pool(length, nil)
	for n := range 40 {
		k := t.talk(node, web)
		at := k.ask(k.open(time.Duration(n)*150*time.Millisecond), 300, 9000, 4*time.Millisecond) + 5*time.Second
		if n%4 > 0 {
			k.close(at, false)
			continue
		}
		k.send(at, false, fin|ack, 0)
		k.write(at-instant, true, ack|psh, k.client.next, k.server.next-1, 300)
		k.write(at+k.rtt, false, rst, k.server.next, 0, 0)
	}
}

func browser(t *tape) {
	t.pool(length, nil)
	for site := range 5 {
		var six []*conversation
		server := netip.AddrPortFrom(stranger(site), 443)
		for n := range 6 {
			k := t.talk(netip.MustParseAddr("192.168.1.20"), server)
			k.client.ttl, k.server.ttl = 64, 52
			k.until(k.open(time.Duration(site)*time.Second+time.Duration(n)*2*time.Millisecond), 6*time.Second, 200*time.Millisecond)
			six = append(six, k)
		}
		for n, k := range six {
			at := 12*time.Second + time.Duration(site)*300*time.Millisecond + time.Duration(n)*20*time.Microsecond
			if site%2 == 0 {
				k.close(at, true)
				continue
			}
			k.send(at, true, fin|ack, 0) // the server's own goodbye crosses it, and nobody is there any more
			k.send(at+k.rtt, false, ack|psh, 24)
			k.send(at+k.rtt, false, fin|ack, 0)
			k.write(at+k.rtt+instant, true, rst, k.client.next, 0, 0)
			k.write(at+k.rtt+2*instant, true, rst, k.client.next, 0, 0)
		}
	}
}

func clientResets(t *tape) {
	t.pool(length, nil)
	for at := time.Duration(0); at < length; at += 40 * time.Millisecond {
		k := t.talk(node, cache)
		k.reset(k.ask(k.open(at), 90, 700, time.Millisecond), true)
	}
}

func serverResets(t *tape) {
	t.pool(length, nil)
	for at := time.Duration(0); at < length; at += 40 * time.Millisecond {
		k := t.talk(node, cache)
		end := k.ask(k.open(at), 90, 700, time.Millisecond)
		k.send(end, true, fin|ack, 0)
		k.reset(end+k.rtt, false)
	}
}

// abandoned: what still comes is answered with RST by a kernel that knows nothing of the connection any more.
func abandoned(t *tape) {
	t.pool(length, nil)
	for n := range 8 {
		k := t.talk(node, web)
		k.stream(k.stream(k.open(9*time.Second), true, 400)+k.rtt, false, 20*mss)
		k.reset(10*time.Second+time.Duration(n)*instant, true)
		for i := range 4 {
			k.send(10*time.Second+time.Duration(i+1)*instant, false, ack, mss)
			k.write(10*time.Second+time.Duration(i+2)*instant, true, rst, k.client.next, 0, 0)
		}
	}
}

func longPolls(t *tape) {
	t.pool(60*time.Second, nil)
	for n := range 20 {
		k := t.talk(node, web)
		at := k.open(time.Duration(n) * 200 * time.Millisecond)
		for range 3 {
			at = k.ask(at, 500, 300, 15*time.Second) + 20*time.Millisecond
		}
	}
}

func chatty(t *tape) {
	t.pool(length, nil)
	for n := range 3000 {
		at := time.Duration(n) * 6 * time.Millisecond
		from := netip.AddrPortFrom(node, uint16(20000+n%977))
		packet := packet{at: at, file: t.file, link: "eth0", src: from, dst: netip.AddrPortFrom(stranger(n%9), 443), ttl: 63, protocol: udp, payload: 1200}
		if n%3 == 0 { // a question, answered at once
			id := []byte{byte(n >> 8), byte(n), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
			packet.dst, packet.payload, packet.data = netip.AddrPortFrom(cache.Addr(), 53), 20, id
			answer := packet
			answer.at, answer.src, answer.dst, answer.ttl = at+roundTrip, packet.dst, packet.src, 60
			answer.data = []byte{id[0], id[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}
			t.packets = append(t.packets, answer)
		}
		t.packets = append(t.packets, packet)
	}
}

// idlePools: one byte before the next, or none, each 2 s (RFC 9293, section 3.8.4).
func idlePools(t *tape) {
	for n := range 30 {
		k := t.talk(node, database)
		at := k.ask(k.open(time.Duration(n)*10*time.Millisecond), 100, 400, time.Millisecond)
		for at += 2 * time.Second; at < 3*length; at += 2 * time.Second {
			k.write(at, true, ack, k.client.next-1, k.server.next, n%2)
			k.write(at+k.rtt, false, ack, k.server.next, k.client.next, 0)
		}
	}
}

// zeroWindows: a client reads nothing for some seconds, the server probes.
func zeroWindows(t *tape) {
	t.pool(length, nil)
	for range 6 {
		k := t.talk(node, web)
		at := k.stream(k.open(4*time.Second), true, 300) + k.rtt
		at = k.stream(at, false, 30*mss)
		closed := func(at time.Duration, window uint16) {
			k.write(at, true, ack, k.client.next, k.server.next, 0)
			k.tape.packets[len(k.tape.packets)-1].window = window
		}
		closed(at, 0)
		for _, wait := range []time.Duration{200, 400, 800, 1600} {
			at += wait * time.Millisecond
			k.write(at, false, ack, k.server.next-1, k.client.next, 0)
			closed(at+instant, 0)
		}
		closed(at+300*time.Millisecond, 501)
		k.close(k.stream(at+301*time.Millisecond, false, 10*mss), true)
	}
}

// older: nobody saw their handshakes, and they speak for the first time in the middle of the capture. Some are sockets of
// servers whose clients are long gone.
func older(t *tape) {
	t.pool(length, nil)
	for n := range 20 {
		k := t.talk(node, database)
		k.until(5*time.Second+time.Duration(n)*400*time.Millisecond, length, 300*time.Millisecond)
	}
	for n := range 5 {
		k := t.talk(node, cache)
		k.send(9*time.Second+time.Duration(n)*500*time.Millisecond, false, ack|psh, 40)
		k.write(9*time.Second+time.Duration(n)*500*time.Millisecond+instant, true, rst, k.client.next, 0, 0)
	}
}

func unstamped(t *tape) {
	for n := range 20 {
		k := t.talk(node, web)
		k.old, k.client.ttl = true, 127
		k.close(k.until(k.open(time.Duration(n)*90*time.Millisecond), length-time.Second, 400*time.Millisecond), n%2 == 0)
	}
}

// pushed: the server speaks, the client only acknowledges.
func pushed(t *tape) {
	for n := range 15 {
		k := t.talk(node, cache)
		at := k.ask(k.open(time.Duration(n)*40*time.Millisecond), 60, 60, 0)
		for at < length {
			at = k.stream(at, false, 100+t.IntN(400)) + time.Duration(100+t.IntN(900))*time.Millisecond
		}
	}
}

// moved is a client whose translation, far away, gives its connection another port in its middle: the server knows none of it.
func (t *tape) moved(k *conversation, at time.Duration) {
	k.client.addr = netip.AddrPortFrom(k.client.addr.Addr(), t.port())
	k.send(at, true, ack|psh, 200)
	k.write(at+instant, false, rst, k.server.next, 0, 0)
}

// visitor is a stranger's conversation with a server on the node.
func (t *tape) visitor(n int) *conversation {
	k := t.talk(stranger(n), netip.AddrPortFrom(node, 443))
	k.client.ttl, k.server.ttl, k.rtt = uint8(44+n%9), 64, 60*time.Microsecond
	return k
}

// roaming: a telephone that goes from one network to the next, and later back.
func roaming(t *tape) {
	t.pool(length, nil)
	for n := range 2 {
		k := t.visitor(7)
		k.until(k.open(time.Second), 8*time.Second, 300*time.Millisecond)
		t.moved(k, 9*time.Second+time.Duration(n)*time.Millisecond)
		next := t.visitor(8)
		next.until(next.open(10*time.Second), length, 300*time.Millisecond)
	}
}

// rebinding: an office's router is restarted, and all its connections go on from other ports. They come in from afar: no fault
// of the node, whose servers they are made to.
func rebinding(t *tape) {
	t.pool(length, nil)
	for n := range 12 {
		k := t.visitor(7)
		k.until(k.open(time.Duration(n)*100*time.Millisecond), 8*time.Second, 200*time.Millisecond)
		at := 9*time.Second + time.Duration(n)*150*time.Millisecond
		t.moved(k, at)
		next := t.visitor(7)
		next.until(next.open(at+time.Second), length, 300*time.Millisecond)
	}
}

// draining: a server ends its connections one after the other, and clients make others elsewhere.
func draining(t *tape) {
	for n, k := range t.pool(8*time.Second, nil) {
		at := k.close(9*time.Second+time.Duration(n)*400*time.Millisecond, false)
		next := t.talk(node, netip.AddrPortFrom(netip.MustParseAddr("10.99.0.7"), k.server.addr.Port()))
		next.until(next.open(at), length, 150*time.Millisecond)
	}
}

// twins: a forked client, or one that fails over, whose connections have nearly the same numbers by chance.
func twins(t *tape) {
	t.pool(length, nil)
	for n := range 6 {
		a, b := t.talk(node, database), t.talk(node, database)
		b.client.next, b.server.next = a.client.next+uint32(n), a.server.next+uint32(n)
		a.close(a.until(a.open(time.Second), 9*time.Second, 200*time.Millisecond), true)
		b.until(b.open(time.Second+time.Millisecond), length, 200*time.Millisecond)
	}
}
