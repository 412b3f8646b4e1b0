package evidence

import (
	"github.com/ringside/ringside/detect"
)

// culprits is what would tell who did it, by class.
var culprits = map[detect.Class]string{
	detect.ConntrackLoss:      "The host's timeline tells who destroyed the entries, and when: record it (ringside run with CAP_NET_ADMIN) and analyse both.",
	detect.NATRulesLoss:       "The host's timeline tells which process changed the rules: record it with the packets.",
	detect.RoutePolicyLoss:    "The host's timeline tells which process removed the policy rule or route: record it with the packets.",
	detect.ConntrackTableFull: "The host's counters and kernel log tell whether the conntrack table was full: record them with the packets.",
	detect.ConntrackExpiry:    "The host's timeline tells when the entries expired, and which time-out was set.",
	detect.ServerRestart:      "The server's own log tells why it restarted.",
	detect.ServerSlow:         "The server's own log tells what it was busy with: packets show that requests had arrived.",
	detect.ServerOverload:     "The server's own metrics tell what it ran out of: workers, connections, or the queue of its port.",
	detect.ServerIdleTimeout:  "The server's configuration has its idle time-out; the client's pool should close idle connections sooner.",
	detect.PathLoss:           "Packets recorded at the server tell on which side of the network, and in which direction, they are lost.",
	detect.PathOutage:         "Packets recorded at the server, and the network's own logs, tell where the path was interrupted.",
	detect.ConnectDropped:     "Flow logs of the network (security groups, network policies) tell which rule drops new connections.",
	detect.ConnectRejected:    "The sender of the refusal is in the cited packets: ask its logs.",
	detect.DNSFailure:         "The name server's log tells whether the questions arrived.",
	detect.ClientExit:         "The pod's own log and its last state (kubectl describe pod) tell why it ended.",
	detect.PodGone:            "The events of the cluster tell who removed the pod.",
}

// need is what would have to be recorded to know more.
func (q *inquiry) need(v Verdict) []string {
	var list []string
	if s := culprits[v.Class]; s != "" && v.Cause == "" {
		list = append(list, s)
	}
	uplink, pod := false, false
	for _, at := range q.found.Vantages {
		uplink, pod = uplink || at.Uplink, pod || !at.Uplink
	}
	switch {
	case q.found.Stats.TCP == 0:
	case !uplink:
		list = append(list, "No uplink is recorded: packets there would show which address, port and interface they leave by.")
	case !pod:
		list = append(list, "Only uplinks are recorded: packets at the pods' interfaces would show what vanishes inside the node, and what clients hear.")
	}
	if !q.history.there && (v.Class == detect.None || q.suspect() != nil) {
		list = append(list, "There is no timeline: state that is lost without hurting anybody is not seen in packets.")
	}
	if v.Class == detect.RecorderBlind {
		list = append(list, "A recording without gaps: a larger ring, fewer services, or a processor of its own for the recorder.")
	}
	return list
}
