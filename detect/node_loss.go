package detect

import (
	"slices"
	"time"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/track"
)

// Thresholds of the rules about the node's own faults. K and the window are those that were measured to find every loss;
// the others say what cannot be told apart from something harmless.
const (
	lossFlows   = 3                              // distinct connections: one or two are always possible by chance
	lossWindow  = int64(10 * time.Second)        // within which they are hit: connections of a pool speak that often
	settle      = int64(500 * time.Millisecond)  // for a server to answer a connection that goes on from elsewhere
	leakSettle  = int64(time.Second)             // for a new connection to show whether it is translated
	leakAtMost  = int64(5 * time.Second)         // after which no new connection is waited for
	aWhile      = int64(time.Second)             // a silence that an entry may expire in, if somebody set its time-out so low
	idleAtMost  = int64(2500 * time.Millisecond) // silence that no expiry of conntrack is as short as
	survivedFor = int64(10 * time.Minute)        // that a time-out is taken to be what it was
	expiryKeep  = int64(2 * time.Minute)         // within which connections expire one by one
	answerTime  = int64(20 * time.Millisecond)   // between a segment and the node's own RST: it is made at once, but live rings are read in turn
)

// Rules' names.
const (
	rulePortMigration = "port-migration"
	ruleAddressLeak   = "address-leak"
	ruleNodeRST       = "node-rst"
	ruleNodeICMP      = "node-icmp"
	ruleVanished      = "vanished-in-node"
	ruleForgedRST     = "rst-of-nobody"
	ruleUntranslated  = "untranslated-syn"
	ruleWrongUplink   = "wrong-uplink"
	ruleSYNVanished   = "syn-vanished"
	ruleIdleMigration = "idle-migration"
	rulePodMute       = "pod-mute"
)

// sign is one connection for which the node has lost its state, or its translation.
type sign struct {
	rule    string
	key     flowKey
	before  int64 // it was well then
	at      int64 // and not any more
	gap     int64 // for how long it had been silent
	vantage uint16
	flow    Flow
	conv    ref      // to follow what becomes of it
	move    *move    // if it is one
	from    [16]byte // the client's address and hop limit, of a move
	ttl     uint8
	spared  int    // connections that went on meanwhile as if nothing had happened
	waits   int    // of a segment that vanished: the side that sent it,
	sent    uint16 // how often it had been sent again by then,
	open    bool   // and whether the way is known to have been open when it was sent again later
}

// flowKey tells connections apart, as the vantage nearest to the client names them.
type flowKey struct{ client, server frame.Endpoint }

// loss gathers the signs that conntrack state was lost, whatever rule they come from, and tells a loss from an expiry,
// and from rules of translation that are missing.
type loss struct {
	base
	handled  int     // of links.moves
	fresh    []*move // that are not decided
	leaks    []*move
	routes   []*move
	signs    []*sign             // of a loss, or of an expiry, that wait for company
	syns     []ref               // of late, without an answer
	survived [2]map[uint16]int64 // the longest pause that was survived, by vantage; of the last stretches of time
	swapped  int64
	homes    map[way]home      // as uplinks see it; with no server, of all the client's connections
	instants []lossAt          // to know their late victims
	lost     map[flowKey]int64 // connections that were hit, and when
	episodes map[Class]*episode
	all      []*episode // the last maxEpisodes
	final    bool       // nothing comes any more
}

// lossAt is when state was lost, and whether connections are known to have been translated afterwards.
type lossAt struct {
	at         int64
	translates bool
}

// way is a client and a machine that it has connections to.
type way struct{ client, server [16]byte }

// home is the uplink by which a client's connections come about.
type home struct {
	vantage uint16
	several bool
}

// maxHomes bounds the clients whose uplink is known, and maxInstants the losses that are kept in mind.
const (
	maxHomes    = 4096
	maxInstants = 64
	maxEpisodes = 64
)

// episode is one fault: signs that belong together.
type episode struct {
	first, last int64
	gap         int64 // the shortest silence before a sign, in ns
	flows       map[flowKey]bool
	findings    map[string]*Finding
	signs       map[string][]*sign // those of the findings' flows
}

func newLoss(d *Detector) *loss {
	return &loss{base: base{d}, survived: [2]map[uint16]int64{{}, {}}, homes: map[way]home{}, lost: map[flowKey]int64{}, episodes: map[Class]*episode{}}
}

func (l *loss) wants() track.News { return track.Reset | track.SYN | track.Survived | track.Connected }

func (l *loss) packet(s *track.Seen) {
	switch {
	case s.News&track.Survived != 0:
		l.survived[0][s.Vantage] = max(l.survived[0][s.Vantage], s.WentOn-s.PausedAt)
	case s.News&track.Connected != 0:
		l.settleIn(s.Conversation)
	case s.News&track.SYN != 0 && s.SYNs == 1:
		if len(l.syns) < 4096 {
			l.syns = append(l.syns, refer(s.Conversation))
		}
	}
	if s.News&track.Reset != 0 && s.From == track.Client {
		l.reset(s)
	}
}

func (l *loss) tick(now int64) {
	if now-l.swapped > survivedFor {
		l.survived[1], l.survived[0], l.swapped = l.survived[0], map[uint16]int64{}, now
	}
	l.sort(now)
	l.leaked(now)
	l.rerouted(now)
	l.decide(now)
	l.syns = slices.DeleteFunc(l.syns, func(r ref) bool { return !r.ok() || r.Accepted != 0 || now-r.Opened > 2*leakAtMost })
	for class, e := range l.episodes {
		if now-e.last > int64(time.Minute) {
			delete(l.episodes, class)
		}
	}
}

// end decides what still waits.
func (l *loss) end() {
	l.final = true
	if len(l.leaks) > 0 {
		l.leaked(l.leaks[0].at + leakAtMost)
	}
	for _, m := range l.fresh {
		if !m.taken && !m.route && !m.leak {
			l.takeMove(m, rulePortMigration)
		}
	}
	l.decide(l.d.now)
	l.expired(l.d.now + int64(time.Hour))
	for _, e := range l.all {
		l.settle(e)
	}
}
