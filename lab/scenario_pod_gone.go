package lab

import (
	"context"

	"github.com/ringside/ringside/lab/wire"
)

func podGone() Scenario {
	return Scenario{
		Name:  "pod-gone",
		Class: "pod-gone",
		Title: "a pod vanishes with its link",
		What: "Connections of one pod fall silent: nothing comes from it any more, not even FIN. What servers send still reaches the " +
			"node, is sent again and again, and goes to no pod. Its link is gone; the entries stay.",
		Fault: func(_ context.Context, l *Lab) error {
			l.Begin("pod 0 is removed")
			if err := l.Node.Remove(l.Pods[0].Veth); err != nil {
				return err
			}
			l.End()
			return nil
		},
		Expect: expectPodGone,
	}
}

func expectPodGone(s *Seen) []Expectation {
	gone, other := s.byPod(0), s.byPod(1)
	link := s.At(s.World.Pods[0].Veth).Count(func(p *wire.Packet) bool { return p.Time.After(s.Fault.Until) })
	seen := s.outside(gone.There)
	ended := tally(seen, func(v *wire.Conversation) bool {
		return v.FromClient.RST.After(s.Fault.At) || v.FromClient.FIN.After(s.Fault.At)
	})
	orphans := tally(seen, func(v *wire.Conversation) bool { return v.FromServer.Again > 0 && v.FromServer.Last.After(s.Fault.At) })
	return []Expectation{
		s.expectKept(), s.expectSilentNode(),
		s.expectEvent("link.change", "a link vanish", patience),
		Expect("nothing comes or goes over the pod's link", link == 0, "%d packets", link),
		Expect("its connections end without RST or FIN", ended == 0 && len(seen) > 0, "%d of %d ended", ended, len(seen)),
		Expect("servers send again to it, in vain", orphans > 0, "%d of %d connections", orphans, len(seen)),
		Expect("the other pod's clients go on", len(other.Hit) == 0 && other.Broken.Total()+other.Unconnected.Total() == 0 && other.Answers > 0,
			"%d of %d ended, %d answers, broken %v, unconnected %v", len(other.Hit), len(other.There), other.Answers, other.Broken, other.Unconnected),
	}
}
