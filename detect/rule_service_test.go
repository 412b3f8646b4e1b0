package detect_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/frame"
)

// wire makes the packets of a network as one uplink sees them: answers take 10 ms.
type wire struct {
	packets []frame.Packet
	port    uint16
}

const roundTrip = 10 * time.Millisecond

func endpoint(addr string, port uint16) frame.Endpoint {
	return frame.Endpoint{Addr: netip.MustParseAddr(addr).As16(), Port: port}
}

func (w *wire) send(at time.Duration, p frame.Packet) {
	p.Time = int64(time.Hour + at)
	p.TTL = 63
	w.packets = append(w.packets, p)
}

// detect gives the packets to a detector, in order.
func (w *wire) detect() detect.Result {
	slices.SortStableFunc(w.packets, func(a, b frame.Packet) int { return int(a.Time - b.Time) })
	d := detect.New(detect.Config{})
	n := d.Vantage("eth0", "")
	for i := range w.packets {
		p := w.packets[i]
		p.Number, p.Vantage = uint64(i+1), n
		d.Packet(&p)
	}
	return d.End()
}

// conn is a connection on it.
type conn struct {
	*wire
	client, server frame.Endpoint
	c, s           uint32 // next numbers
}

func (w *wire) conn(client string, server frame.Endpoint) *conn {
	w.port++
	return &conn{w, endpoint(client, 40000+w.port), server, uint32(w.port) << 20, uint32(w.port) << 21}
}

func (c *conn) up(at time.Duration, flags uint8, payload uint32) {
	c.send(at, frame.Packet{Protocol: frame.TCP, Src: c.client, Dst: c.server, Seq: c.c, Ack: c.s, Flags: flags, Window: 500, Payload: payload})
	c.c += payload + uint32(flags&1) + uint32(flags>>1&1)
}

func (c *conn) down(at time.Duration, flags uint8, payload uint32) {
	c.send(at, frame.Packet{Protocol: frame.TCP, Src: c.server, Dst: c.client, Seq: c.s, Ack: c.c, Flags: flags, Window: 500, Payload: payload})
	c.s += payload + uint32(flags&1) + uint32(flags>>1&1)
}

func (c *conn) open(at time.Duration) *conn {
	c.up(at, frame.SYN, 0)
	c.down(at+roundTrip, frame.SYN|frame.ACK, 0)
	c.up(at+roundTrip+100*time.Microsecond, frame.ACK, 0)
	return c
}

// call sends SYNs that nobody answers.
func (c *conn) call(at ...time.Duration) {
	first := c.c
	for _, t := range at {
		c.c = first
		c.up(t, frame.SYN, 0)
	}
}

func (c *conn) refused(at time.Duration) {
	c.up(at, frame.SYN, 0)
	c.s = 0
	c.down(at+roundTrip, frame.RST|frame.ACK, 0)
}

// ask sends a request that is acknowledged at once and answered later.
func (c *conn) ask(at, takes time.Duration) {
	c.up(at, frame.ACK|frame.PSH, 100)
	if takes > 5*roundTrip {
		c.down(at+roundTrip, frame.ACK, 0)
	}
	c.down(at+takes, frame.ACK|frame.PSH, 1000)
	c.up(at+takes+time.Millisecond/10, frame.ACK, 0)
}

// asks sends a request every so often from one time until another.
func (c *conn) asks(from, until, every, takes time.Duration) {
	for at := from; at < until; at += every {
		c.ask(at, takes)
	}
}

// repeat sends a request, and again the same until an answer comes.
func (c *conn) repeat(answer time.Duration, at ...time.Duration) {
	first := c.c
	for _, t := range at {
		c.c = first
		c.up(t, frame.ACK|frame.PSH, 100)
	}
	c.down(answer, frame.ACK|frame.PSH, 1000)
	c.up(answer+time.Millisecond/10, frame.ACK, 0)
}

func (c *conn) bye(at time.Duration) {
	c.up(at, frame.FIN|frame.ACK, 0)
	c.down(at+roundTrip, frame.FIN|frame.ACK, 0)
	c.up(at+roundTrip+time.Millisecond/10, frame.ACK, 0)
}

// ends is the server's FIN, and the client's at once.
func (c *conn) ends(at time.Duration) {
	c.down(at, frame.FIN|frame.ACK, 0)
	c.up(at+time.Millisecond, frame.FIN|frame.ACK, 0)
	c.down(at+roundTrip, frame.ACK, 0)
}

const (
	ms = time.Millisecond
	s  = time.Second
)

// pool is connections that ask every 300 ms, out of step.
func (w *wire) pool(n int, server frame.Endpoint, until time.Duration) (list []*conn) {
	for i := range n {
		c := w.conn("10.0.0.10", server).open(time.Duration(i) * 10 * ms)
		c.asks(100*ms+time.Duration(i)*37*ms, until-100*ms, 300*ms, 12*ms)
		list = append(list, c)
	}
	return list
}

// TestServiceRules is what each rule finds, beside what looks like it and is nothing.
func TestServiceRules(t *testing.T) {
	db := endpoint("192.0.2.5", 5432)
	web := endpoint("192.0.2.7", 443)
	for _, x := range []struct {
		name string
		want detect.Class
		n    int
		do   func(w *wire)
	}{
		{"a server is killed, and away for a while", detect.ServerRestart, 5, func(w *wire) {
			for i, c := range w.pool(5, db, 5*s) {
				c.down(5*s+time.Duration(i)*ms, frame.RST|frame.ACK, 0)
				w.conn("10.0.0.10", db).refused(5*s + 200*ms + time.Duration(i)*ms)
				w.conn("10.0.0.10", db).open(7*s).asks(7*s+50*ms, 10*s, 300*ms, 12*ms)
			}
		}},
		{"a machine starts anew, and knows no connection", detect.ServerRestart, 5, func(w *wire) {
			for i, c := range w.pool(5, db, 5*s) {
				at := 5*s + time.Duration(i)*30*ms
				c.call() // silence
				first := c.c
				for _, after := range []time.Duration{0, 200 * ms, 600 * ms, 1400 * ms} {
					c.c = first
					c.up(at+after, frame.ACK|frame.PSH, 100)
				}
				c.down(at+1400*ms+roundTrip, frame.RST, 0)
				w.conn("10.0.0.10", db).open(8*s).asks(8*s+50*ms, 10*s, 300*ms, 12*ms)
			}
		}},
		{"a web server ends kept connections, each 5 s after its last answer", "", 0, func(w *wire) {
			for i := range 12 {
				at := time.Duration(i) * 150 * ms
				c := w.conn("10.0.0.10", web).open(at)
				c.asks(at+50*ms, at+s, 300*ms, 12*ms)
				c.ends(at + 6*s)
				w.conn("10.0.0.10", web).open(at+4*s).asks(at+4100*ms, at+9*s, 300*ms, 12*ms)
			}
		}},
		{"and a browser's six at one moment", "", 0, func(w *wire) {
			for i := range 6 {
				c := w.conn("10.0.0.10", web).open(time.Duration(i) * ms)
				c.asks(50*ms, s, 200*ms, 12*ms)
				c.ends(61*s + time.Duration(i)*ms)
			}
			w.conn("10.0.0.10", web).open(62*s).asks(62*s+20*ms, 66*s, 300*ms, 12*ms)
		}},
		{"connections are ended when idle, and used again", detect.ServerIdleTimeout, 4, func(w *wire) {
			for i := range 4 {
				at := time.Duration(i) * 700 * ms
				c := w.conn("10.0.0.10", db).open(at)
				c.ask(at+50*ms, 12*ms)
				c.down(at+3*s, frame.FIN|frame.ACK, 0)
				c.up(at+3*s+40*ms, frame.ACK, 0)
				c.up(at+4*s, frame.ACK|frame.PSH, 100)
				c.down(at+4*s+roundTrip, frame.RST, 0)
				w.conn("10.0.0.10", db).open(at+4*s+20*ms).asks(at+4*s+50*ms, at+8*s, 300*ms, 12*ms)
			}
		}},
		{"a browser takes leave of connections that were ended (TLS)", "", 0, func(w *wire) {
			for i := range 6 {
				at := time.Duration(i) * 300 * ms
				c := w.conn("10.0.0.10", web).open(at)
				c.ask(at+50*ms, 12*ms)
				c.down(at+5*s, frame.FIN|frame.ACK, 0)
				c.up(at+5*s+40*ms, frame.ACK, 0)
				c.up(at+9*s, frame.ACK|frame.PSH, 31)
				c.up(at+9*s+50*time.Microsecond, frame.FIN|frame.ACK, 0)
				c.down(at+9*s+roundTrip, frame.RST, 0)
				w.conn("10.0.0.10", web).open(at+9*s+ms).asks(at+9*s+50*ms, at+12*s, 300*ms, 12*ms)
			}
		}},
		{"SYNs to a server that is there are dropped", detect.ConnectDropped, 4, func(w *wire) {
			w.pool(3, db, 20*s)
			for i := range 4 {
				at := 5*s + time.Duration(i)*500*ms
				w.conn("10.0.0.10", db).call(at, at+s, at+3*s)
			}
		}},
		{"somebody scans for open ports, of which few are", "", 0, func(w *wire) {
			w.pool(3, db, 20*s)
			for i := range uint16(2000) {
				at := 2*s + time.Duration(i)*5*ms
				switch c := w.conn("10.0.0.10", endpoint("192.0.2.5", 1+i)); i % 3 {
				case 0:
					c.refused(at)
				default:
					c.call(at, at+s)
				}
			}
		}},
		{"strangers flood a server with SYNs", "", 0, func(w *wire) {
			w.pool(3, db, 20*s)
			for i := range 2000 {
				at := 5*s + time.Duration(i)*ms
				w.conn(fmt.Sprintf("203.0.113.%d", i%250), db).call(at, at+s)
			}
		}},
		{"an address that nobody has is tried again and again", "", 0, func(w *wire) {
			w.pool(3, db, 20*s)
			for i := range 10 {
				at := s + time.Duration(i)*s
				w.conn("10.0.0.10", endpoint("192.0.2.99", 80)).call(at, at+s, at+3*s)
			}
		}},
		{"SYNs to a server that is there are refused", detect.ConnectRejected, 5, func(w *wire) {
			w.pool(3, db, 20*s)
			for i := range 5 {
				w.conn("10.0.0.10", db).refused(5*s + time.Duration(i)*300*ms)
			}
		}},
		{"one of many SYNs is refused", "", 0, func(w *wire) {
			w.pool(3, db, 20*s)
			for i := range 40 {
				at := 5*s + time.Duration(i)*100*ms
				if i%10 == 0 {
					w.conn("10.0.0.10", db).refused(at)
				} else {
					w.conn("10.0.0.10", db).open(at).bye(at + 30*ms)
				}
			}
		}},
		{"a server answers late", detect.ServerSlow, 4, func(w *wire) {
			for i, c := range w.pool(4, db, 5*s) {
				c.ask(5*s+time.Duration(i)*50*ms, 2*s)
				c.asks(8*s, 12*s, 300*ms, 12*ms)
			}
		}},
		{"some questions take long, others do not", "", 0, func(w *wire) {
			w.pool(3, db, 20*s)
			for i := range 6 {
				c := w.conn("10.0.0.10", db).open(5 * s)
				c.ask(6*s+time.Duration(i)*50*ms, 3*s)
			}
		}},
		{"clients poll, and most answers wait for news", "", 0, func(w *wire) {
			for i := range 8 {
				c := w.conn("10.0.0.10", web).open(time.Duration(i) * 50 * ms)
				for k := range 12 {
					takes := 12 * ms
					if (k+i)%3 == 0 {
						takes = time.Duration(1+k%4) * s
					}
					c.ask(s+time.Duration(i)*50*ms+time.Duration(k)*5*s, takes)
				}
			}
		}},
		{"a server answers late and takes no more connections", detect.ServerOverload, 4, func(w *wire) {
			for i, c := range w.pool(4, db, 5*s) {
				c.ask(5*s+time.Duration(i)*50*ms, 2*s)
				c.asks(8*s, 12*s, 300*ms, 12*ms)
				w.conn("10.0.0.10", db).call(5*s+time.Duration(i)*100*ms, 6*s+time.Duration(i)*100*ms, 8*s+time.Duration(i)*100*ms)
			}
		}},
		{"nothing comes in for a while", detect.PathOutage, 5, func(w *wire) {
			for i, c := range w.pool(5, db, 5*s) {
				at := 5*s + time.Duration(i)*40*ms
				c.repeat(at+3*s+roundTrip, at, at+200*ms, at+600*ms, at+1400*ms, at+3*s)
				c.asks(9*s, 14*s, 300*ms, 12*ms)
			}
		}},
		{"one connection of five waits", "", 0, func(w *wire) {
			list := w.pool(5, db, 5*s)
			list[0].repeat(8*s+roundTrip, 5*s, 5200*ms, 5600*ms, 6400*ms, 8*s)
			for _, c := range list {
				c.asks(9*s, 14*s, 300*ms, 12*ms)
			}
		}},
		{"a network loses 3 % of what is sent", detect.PathLoss, 6, func(w *wire) { w.lossy(db, 3) }},
		{"a network loses 0.4 %", "", 0, func(w *wire) { w.lossy(db, 0.4) }},
		{"a name server falls silent", detect.DNSFailure, 6, func(w *wire) {
			w.pool(3, db, 20*s)
			for i := range uint16(12) {
				w.name(s+time.Duration(i)*500*ms, i, i < 6, 0)
			}
		}},
		{"names that do not exist, and one that cannot be found out", "", 0, func(w *wire) {
			w.pool(3, db, 20*s)
			for i := range uint16(20) {
				code := uint8(3)
				if i == 10 {
					code = 2
				}
				w.name(s+time.Duration(i)*300*ms, i, true, code)
			}
		}},
		{"one of two clients dies", detect.ClientExit, 4, func(w *wire) {
			w.pool(3, db, 20*s)
			for i := range 4 {
				c := w.conn("10.0.0.11", db).open(time.Duration(i) * 10 * ms)
				c.asks(s, 5*s, 300*ms, 12*ms)
				c.up(6*s, frame.ACK|frame.PSH, 100)
				c.up(6*s+5*ms, frame.RST|frame.ACK, 0)
			}
		}},
		{"one of two clients ends its connections, and makes others", "", 0, func(w *wire) {
			w.pool(3, db, 20*s)
			for i := range 4 {
				c := w.conn("10.0.0.11", db).open(time.Duration(i) * 10 * ms)
				c.asks(s, 5*s, 300*ms, 12*ms)
				c.up(6*s, frame.ACK|frame.PSH, 100)
				c.up(6*s+5*ms, frame.RST|frame.ACK, 0)
				w.conn("10.0.0.11", db).open(6*s+300*ms).asks(7*s, 10*s, 300*ms, 12*ms)
			}
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := &wire{}
			x.do(w)
			flows := believed(w.detect())
			if x.want != "" && flows[x.want] < x.n {
				t.Errorf("%s with %d, want %d", x.want, flows[x.want], x.n)
			}
			delete(flows, x.want)
			if len(flows) > 0 {
				t.Errorf("found %v, want no other than %q", flows, x.want)
			}
		})
	}
}

// lossy is connections of whose requests a share is lost behind the vantage.
func (w *wire) lossy(server frame.Endpoint, percent float64) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 10 {
		c := w.conn("10.0.0.10", server).open(time.Duration(i) * 10 * ms)
		for at := s + time.Duration(i)*31*ms; at < 25*s; at += 300 * ms {
			if r.Float64()*100 < 2*percent { // of requests and answers together
				c.repeat(at+210*ms, at, at+200*ms)
			} else {
				c.ask(at, 12*ms)
			}
		}
	}
}

// name asks a name server, which answers or does not.
func (w *wire) name(at time.Duration, id uint16, answered bool, code uint8) {
	client, server := endpoint("10.0.0.10", 30000+id), endpoint("192.0.2.53", 53)
	w.send(at, frame.Packet{Protocol: frame.UDP, Src: client, Dst: server, Payload: 40, DNS: true, DNSID: id})
	if answered {
		w.send(at+roundTrip, frame.Packet{Protocol: frame.UDP, Src: server, Dst: client, Payload: 90, DNS: true, DNSID: id, Response: true, RCode: code})
	}
}
