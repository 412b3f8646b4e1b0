package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/lab/traffic"
	"github.com/ringside/ringside/lab/wire"
)

func serverRestart() Scenario {
	return Scenario{
		Name:  "server-restart",
		Class: "server-restart",
		Title: "a server restarts",
		What: "The server ends its connections with RST or FIN, on the ports that they always had, and answers SYNs with RST until it " +
			"is back. Clients see resets or ends, then refused connections, then all is well.",
		Variants: []Variant{{Name: "reset", What: "connections are cut: RST"}, {Name: "finish", What: "connections are closed: FIN"}},
		Fault: func(ctx context.Context, l *Lab) error {
			how := traffic.Reset
			if l.Setup.Variant == "finish" {
				how = traffic.Finish
			}
			l.Begin("%s stops", Orders)
			l.Served[Orders].Stop(how)
			refused := func() bool { return l.since(Orders).Unconnected.Refused > 0 }
			if err := l.until(ctx, between(l.Setup.Rand, 800*time.Millisecond, 2*time.Second), refused); err != nil {
				return err
			}
			err := l.Served[Orders].Start()
			l.End()
			return err
		},
		Expect: expectServerRestart,
	}
}

func expectServerRestart(s *Seen) []Expectation {
	a := s.aftermath(Orders)
	ended := tally(s.outside(a.There), func(v *wire.Conversation) bool {
		return v.FromServer.RST.After(s.Fault.At) || v.FromServer.FIN.After(s.Fault.At)
	})
	refused := s.AtUplinks().Count(func(p *wire.Packet) bool { // not by port, for two may have drawn the same
		return s.fromServer(p, Orders) && p.Is(wire.RST|wire.ACK) && p.Seq == 0 && s.AfterFault(p)
	})
	return append(s.spared(),
		Expect("every connection that was there ends, by reset or end of file",
			len(a.There) > 0 && len(a.Hit) == len(a.There) && a.Broken.Reset+a.Broken.EOF == a.Broken.Total(),
			"%d of %d, broken %v", len(a.Hit), len(a.There), a.Broken),
		Expect("the uplink sees the server end each of them on the port it always had", ended == len(a.There),
			"%d of %d with RST or FIN", ended, len(a.There)),
		Expect("connections are refused until it is back",
			a.Unconnected.Refused > 0 && refused == a.Unconnected.Refused && a.Unconnected.Total() == a.Unconnected.Refused,
			"unconnected %v, %d SYNs answered with RST on the uplink", a.Unconnected, refused),
		a.recovers(), s.unharmed(Orders))
}
