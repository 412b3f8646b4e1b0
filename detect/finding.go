package detect

import "time"

// Class is what a finding points to, and what a verdict can be.
type Class string

// Classes. docs/verdicts.md has a section on each.
const (
	ConntrackLoss      Class = "conntrack-loss"
	NATRulesLoss       Class = "nat-rules-loss"
	RoutePolicyLoss    Class = "route-policy-loss"
	ConntrackTableFull Class = "conntrack-table-full"
	ConntrackExpiry    Class = "conntrack-expiry"
	ServerRestart      Class = "server-restart"
	ServerIdleTimeout  Class = "server-idle-timeout"
	ServerSlow         Class = "server-slow"
	ServerOverload     Class = "server-overload"
	PathLoss           Class = "path-loss"
	PathOutage         Class = "path-outage"
	ConnectDropped     Class = "connect-dropped"
	ConnectRejected    Class = "connect-rejected"
	DNSFailure         Class = "dns-failure"
	ClientExit         Class = "client-exit"
	PodGone            Class = "pod-gone"
	RecorderBlind      Class = "recorder-blind"
	None               Class = "none"

	StateLost Class = "state-lost" // of a finding alone: conntrack state was lost and nobody was hurt
	Suspect   Class = "suspect"    // of a finding alone: something is wrong, and packets do not show what
)

// Classes is every class that a verdict can have, in the order of docs/verdicts.md.
var Classes = []Class{
	ConntrackLoss, NATRulesLoss, RoutePolicyLoss, ConntrackTableFull, ConntrackExpiry, ServerRestart, ServerIdleTimeout, ServerSlow,
	ServerOverload, PathLoss, PathOutage, ConnectDropped, ConnectRejected, DNSFailure, ClientExit, PodGone, RecorderBlind, None,
}

// Node says whether a class is a fault of the node itself.
func (c Class) Node() bool {
	switch c {
	case ConntrackLoss, NATRulesLoss, RoutePolicyLoss, ConntrackTableFull, ConntrackExpiry:
		return true
	}
	return false
}

// Finding is a rule that held.
type Finding struct {
	Class      Class     `json:"class"`
	Rule       string    `json:"rule"`       // its name, such as port-migration
	Confidence float64   `json:"confidence"` // 0 to 1
	First      time.Time `json:"first"`      // of what it rests on
	Last       time.Time `json:"last"`
	Text       string    `json:"text"` // one sentence, without a full stop

	Flows     []Flow     `json:"flows"` // at most MaxFlows of them
	Count     int        `json:"count"` // of all flows
	Services  []string   `json:"services"`
	Citations []Citation `json:"citations"`
}

// MaxFlows and MaxCitations bound a finding.
const (
	MaxFlows     = 256
	MaxCitations = 64
)

// Fates of a flow.
const (
	Reset     = "reset"     // ended by RST
	Hung      = "hung"      // silent, or only sent again, until the capture or the client gave up
	Recovered = "recovered" // went on after a stall
	Refused   = "refused"   // the handshake was refused
	Closed    = "closed"    // ended by FIN
	Unhurt    = "unhurt"
)

// Flow is a conversation that a finding is about.
type Flow struct {
	Protocol  string    `json:"protocol,omitempty"` // udp; empty for tcp
	Src       string    `json:"src"`                // the client, as the vantage saw it: address:port
	Dst       string    `json:"dst"`                // the server
	Service   string    `json:"service,omitempty"`
	Interface string    `json:"interface,omitempty"`
	Inner     string    `json:"inner,omitempty"` // the client as a vantage nearer to it knows it, if that is another address or port
	Then      string    `json:"then,omitempty"`  // the client's address and port from then on, if they changed
	Fate      string    `json:"fate,omitempty"`
	First     time.Time `json:"first"` // when it was hit
	Last      time.Time `json:"last"`  // when it ended or went on

	Citations []Citation `json:"citations,omitempty"` // a few packets that prove it
}

// Citation is a packet that something rests on.
type Citation struct {
	File      string `json:"file,omitempty"` // base name
	Interface string `json:"interface,omitempty"`
	TimeNS    int64  `json:"time_ns"` // since 1970
	Frame     uint64 `json:"frame"`   // in the file, from 1
	What      string `json:"what"`    // what it shows, such as "the same segment from another port"
}
