package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/lab/path"
	"github.com/ringside/ringside/lab/traffic"
	"github.com/ringside/ringside/lab/wire"
)

func serverReboot() Scenario {
	return Scenario{
		Name:  "server-reboot",
		Class: "server-restart",
		Title: "a server's machine restarts",
		What: "Nothing comes from the server, also no RST. Clients send again, on the RTO ladder. When the machine is back it " +
			"knows none of the connections and answers with RST, on the ports that they always had; who only listens " +
			"hears nothing until its own time-out.",
		Setup: func(u *Setup) { u.Timeout = 5 * time.Second },
		Fault: func(ctx context.Context, l *Lab) error {
			server := l.Servers[DB]
			usual := server.Path.Conditions()
			l.Begin("the machine of %s and %s is gone", Orders, Events)
			server.Path.Set(path.Conditions{Loss: 1}) // nobody hears how its connections end
			for _, name := range []string{Orders, Events} {
				l.Served[name].Stop(traffic.Reset)
			}
			if err := l.Wait(ctx, between(l.Setup.Rand, 2*time.Second, 3*time.Second)); err != nil {
				return err
			}
			for _, name := range []string{Orders, Events} {
				if err := l.Served[name].Start(); err != nil {
					return err
				}
			}
			l.End()
			server.Path.Set(usual)
			return nil
		},
		Expect: expectServerReboot,
	}
}

func expectServerReboot(s *Seen) []Expectation {
	speak, listen := s.aftermath(Orders), s.aftermath(Events)
	silent := s.AtUplinks().Count(func(p *wire.Packet) bool {
		return s.fromServer(p, Orders, Events) && p.Time.After(s.Fault.At.Add(underWay)) && p.Time.Before(s.Fault.Until)
	})
	seen := s.outside(speak.There)
	again := tally(seen, func(v *wire.Conversation) bool { return v.FromClient.Again > 0 })
	reset := tally(seen, func(v *wire.Conversation) bool { return v.FromServer.RST.After(s.Fault.At) })
	return append(s.spared(),
		Expect("nothing comes from the server while it is gone", silent == 0, "%d packets", silent),
		Expect("clients that ask send again", again > 0, "%d of %d connections", again, len(speak.There)),
		Expect("the server resets them when it is back, on the ports they always had",
			reset == len(speak.There) && len(speak.Hit) == len(speak.There) && speak.Broken.Reset > 0 &&
				speak.Broken.Reset+speak.Broken.TimedOut == speak.Broken.Total(),
			"%d of %d with RST on the uplink, broken %v", reset, len(speak.There), speak.Broken),
		Expect("clients that listen hear nothing until their time-out",
			len(listen.Hit) == len(listen.There) && len(listen.Hit) > 0 && listen.Broken.TimedOut == listen.Broken.Total(),
			"%d of %d, broken %v", len(listen.Hit), len(listen.There), listen.Broken),
		speak.recovers(), s.unharmed(Orders, Events))
}
