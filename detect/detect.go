package detect

import (
	"net/netip"
	"time"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/sequence"
	"github.com/ringside/ringside/detect/series"
	"github.com/ringside/ringside/detect/track"
)

// Config says how packets are looked at.
type Config struct {
	Services      []Service // names of services, the first match holds; others are named by port
	Uplinks       []string  // interfaces that lead out of the node; none: those are found
	Conversations int       // at most, at a time; default DefaultConversations
}

// DefaultConversations is how many conversations are followed at a time.
const DefaultConversations = 65536

// Service is a name for a server's ports.
type Service struct {
	Name  string
	First uint16 // port
	Last  uint16
	CIDRs []netip.Prefix // none: anywhere
}

// tickEvery is how often rules look at what did not happen, in ns of the packets' time.
const tickEvery = int64(250 * time.Millisecond)

// Detector follows conversations and finds what is wrong with them. It is not safe for concurrent use.
type Detector struct {
	names    *names
	table    *track.Table
	links    *links
	series   *series.Table
	rules    []rule
	wanted   track.News // by any of them
	loss     *loss
	vantages []vantage
	known    map[[2]string]uint16
	uplinks  []string

	live     bool  // Covered was called: vantages are not read in step
	now      int64 // the greatest time of any packet, or covered
	ticked   int64
	together int64 // how far all vantages had been read by then
	first    int64

	blind []Blind
	found []*Finding
	told  int // of found
	stats Stats
}

// vantage is what is known of an interface.
type vantage struct {
	Vantage
	clock  int64 // read up to here
	seen   int64 // time of its last packet
	in     int64 // time of the last packet with payload or SYN from a server to a client
	unseen uint64
	data   uint64
	blind  int64 // until when, of the stretch that ended last
	paths  map[uint16]*path
	woke   int64 // when something was seen after a second of nothing, or at first
	leaves bool  // the capture says of some packets that they left here: it knows directions
	mixed  int   // connections that were seen here under two names at once: both sides of a translation
}

// rule is a signature. Its methods are called from Detector's alone.
type rule interface {
	wants() track.News                                         // of which packet is told
	packet(s *track.Seen)                                      // one that has any of them
	icmp(p *frame.Packet, about *track.Conversation, from int) // an ICMP error about a packet of a conversation, that side from sent; about is nil if none is known
	dns(p *frame.Packet)                                       // a DNS message
	tick(now int64)                                            // every quarter of a second of capture, and when the last vantage has been read
	end()                                                      // after the last packet
}

// base is a rule that does nothing.
type base struct{ d *Detector }

func (base) wants() track.News                            { return 0 }
func (base) packet(*track.Seen)                           {}
func (base) icmp(*frame.Packet, *track.Conversation, int) {}
func (base) dns(*frame.Packet)                            {}
func (base) tick(int64)                                   {}
func (base) end()                                         {}

// New returns a detector that has seen nothing.
func New(cfg Config) *Detector {
	if cfg.Conversations <= 0 {
		cfg.Conversations = DefaultConversations
	}
	d := &Detector{
		names: newNames(cfg.Services), table: track.NewTable(cfg.Conversations), series: series.NewTable(),
		known: map[[2]string]uint16{}, uplinks: cfg.Uplinks,
	}
	d.table.Serves, d.table.Name = d.names.serves, d.names.number
	d.links = newLinks(d)
	d.rules = newRules(d)
	for _, r := range d.rules {
		d.wanted |= r.wants()
	}
	return d
}

// Vantage returns the number of an interface of a file, for Packet.Vantage: the same for the same names.
func (d *Detector) Vantage(name, file string) uint16 {
	key := [2]string{name, file}
	if n, ok := d.known[key]; ok {
		return n
	}
	n := uint16(len(d.vantages))
	d.known[key] = n
	d.vantages = append(d.vantages, vantage{Vantage: Vantage{Name: name, File: file}, paths: map[uint16]*path{}})
	return n
}

// Packet takes the next packet. Those of a vantage come in the order of time, but for a few milliseconds; those of
// different vantages may be seconds apart, if Covered tells how far each one has been read.
func (d *Detector) Packet(p *frame.Packet) { d.packet(p, d.table.Hash(p)) }

// Packets takes the next packets, at most Batch, in less time than one by one.
func (d *Detector) Packets(batch []frame.Packet) {
	var hashes [Batch]uint64
	d.table.Expect(batch, &hashes)
	for i := range batch {
		d.packet(&batch[i], hashes[i])
	}
}

// Batch is how many packets may be handed over at a time.
const Batch = track.Ahead

func (d *Detector) packet(p *frame.Packet, hash uint64) {
	if int(p.Vantage) >= len(d.vantages) {
		return // nobody has announced it
	}
	v := &d.vantages[p.Vantage]
	v.Packets++
	d.stats.Packets++
	if p.Time > v.clock {
		v.clock = p.Time
	}
	if p.Time-v.seen > int64(time.Second) {
		v.woke = p.Time
	}
	v.seen = max(v.seen, p.Time)
	v.leaves = v.leaves || p.Out
	if p.Time > d.now {
		d.now = p.Time
		if d.first == 0 {
			d.first, d.ticked = p.Time, p.Time
		}
		if d.now-d.ticked >= tickEvery {
			d.tick()
		}
	}
	switch {
	case p.Fragment:
	case p.Protocol == frame.TCP:
		d.tcp(v, p, hash)
	case p.Quoted:
		d.icmp(p)
	case p.Protocol == frame.UDP:
		d.udp(p)
	case p.Protocol == 0:
		d.stats.Unread++
	}
}

func (d *Detector) tcp(v *vantage, p *frame.Packet, hash uint64) {
	d.stats.TCP++
	s := d.table.Packet(p, hash)
	if s == nil {
		return
	}
	if s.News&track.Data != 0 {
		v.data++
		if s.Serial%sample == 0 || v.data < 1000 {
			d.transit(s)
		}
	}
	if s.Flags&sequence.AckedUnseen != 0 {
		v.unseen++
		d.stats.Unseen++
	}
	if s.From == track.Server {
		v.in = max(v.in, p.Time)
	}
	if s.Outer == nil || s.Out() == nil {
		d.series.Add(s.Service, series.Bytes, p.Time, int64(p.Payload))
	}
	if s.News == 0 {
		return
	}
	if s.News&track.Begun != 0 {
		d.links.begun(s)
	}
	if s.News&(track.MidStream|track.Accepted) != 0 {
		d.names.served(s.Server, s.News&track.Accepted != 0)
	}
	d.count(s)
	if s.News&d.wanted == 0 {
		return
	}
	for _, r := range d.rules {
		if s.News&r.wants() != 0 {
			r.packet(s)
		}
	}
}

// udp counts what belongs to a service that was named, and hands on DNS.
func (d *Detector) udp(p *frame.Packet) {
	n, ok := d.names.given(p.Dst)
	if !ok {
		n, ok = d.names.given(p.Src)
	}
	if ok {
		d.series.Add(n, series.Bytes, p.Time, int64(p.Payload))
	}
	if !p.DNS {
		return
	}
	for _, r := range d.rules {
		r.dns(p)
	}
}

// count adds what a packet did to the series of its service. Where a connection is seen twice, the vantage nearer to the
// server tells.
func (d *Detector) count(s *track.Seen) {
	if s.Outer != nil && s.Out() != nil {
		return
	}
	at, n := s.Packet.Time, s.Service
	if s.News&track.Answer != 0 {
		d.series.Add(n, series.Answer, at, s.Value)
	}
	if s.News&^(track.Answer|track.Data|track.Request|track.Progress|track.Begun|track.MidStream) == 0 {
		return
	}
	switch {
	case s.News&track.Connected != 0:
		d.series.Add(n, series.Connect, at, s.Value)
	case s.News&track.Refused != 0:
		d.series.Add(n, series.Refused, at, 1)
	case s.News&track.SYNAgain != 0:
		d.series.Add(n, series.Unanswered, at, 1)
	case s.News&track.Reset != 0:
		d.series.Add(n, series.Reset, at, 1)
	}
	if s.News&track.Again != 0 {
		d.stats.Retransmitted++
		d.series.Add(n, series.Retransmitted, at, 1)
		if s.Flags&sequence.TimeOut != 0 {
			d.series.Add(n, series.TimeOut, at, 1)
		}
	}
	if s.News&track.Zero != 0 {
		d.series.Add(n, series.ZeroWindow, at, 1)
	}
}

// icmp finds the conversation that an error is about.
func (d *Detector) icmp(p *frame.Packet) {
	var c *track.Conversation
	from := track.Client
	if p.Quote.Protocol == frame.TCP {
		c = d.table.Find(p.Vantage, p.Quote.Src, p.Quote.Dst)
		if c != nil && c.Client != p.Quote.Src {
			from = track.Server
		}
	}
	for _, r := range d.rules {
		r.icmp(p, c, from)
	}
}

// Covered says that everything of the vantages up to a time (ns since 1970) has been handed over. Files that are merged
// by time need not call it.
func (d *Detector) Covered(until int64, vantages ...uint16) {
	d.live = true
	for _, n := range vantages {
		if v := &d.vantages[n]; until > v.clock {
			v.clock = until
		}
	}
	if until > d.now {
		d.now = until
		if d.first == 0 {
			d.first, d.ticked = until, until
		}
	}
	if d.now-d.ticked >= tickEvery || d.readAll()-d.together >= tickEvery {
		d.tick()
	}
}

// readTo is how far a vantage has been read.
func (d *Detector) readTo(n uint16) int64 {
	if !d.live {
		return d.now
	}
	return d.vantages[n].clock
}

// readAll is how far all vantages have been read but for those that are gone.
func (d *Detector) readAll() int64 {
	const gone = int64(2 * time.Second)
	to := d.now
	for i := range d.vantages {
		if n := d.readTo(uint16(i)); d.now-n < gone {
			to = min(to, n)
		}
	}
	return to
}

func (d *Detector) tick() {
	d.ticked, d.together = d.now, d.readAll()
	d.links.tick()
	for _, r := range d.rules {
		r.tick(d.now)
	}
}

// Blind says that packets of a stretch of time are missing: no rule takes silence there as a fact.
func (d *Detector) Blind(b Blind) {
	if len(d.blind) < maxBlind {
		d.blind = append(d.blind, b)
	} else {
		last := &d.blind[maxBlind-1]
		last.To = b.To
		last.Packets += b.Packets
	}
	for i := range d.vantages {
		if v := &d.vantages[i]; b.Vantage == "" || b.Vantage == v.Name {
			v.blind = max(v.blind, b.To.UnixNano())
		}
	}
}

// maxBlind bounds the stretches that are told apart.
const maxBlind = 1000

// isBlind says whether a vantage may have missed packets since a time: because of a known loss, or because it keeps missing
// what is acknowledged.
func (d *Detector) isBlind(n uint16, since int64) bool {
	v := &d.vantages[n]
	return v.blind >= since || v.unseen > 20 && v.unseen*50 > v.data
}

// Findings returns the findings that are new since the last call. A finding that goes on is returned once, when it
// is certain; End has what became of it.
func (d *Detector) Findings() (list []Finding) {
	for ; d.told < len(d.found); d.told++ {
		list = append(list, *d.found[d.told])
	}
	return list
}

// Live is a detector's running state, for metrics.
type Live struct {
	Conversations int
	Stats         Stats
}

// Live returns a snapshot.
func (d *Detector) Live() Live {
	return Live{d.table.Len(), d.statistics()}
}

func (d *Detector) statistics() Stats {
	s := d.stats
	s.Conversations, s.Evicted = d.table.Total, d.table.Evicted
	return s
}

// End returns everything, after the last packet. The detector is not used afterwards.
func (d *Detector) End() Result {
	if d.first != 0 {
		d.now += tickEvery
		d.tick()
	}
	for _, r := range d.rules {
		r.end()
	}
	r := Result{Blind: d.blind, Stats: d.statistics(), Series: d.series.Series(d.names.name), Paths: d.links.result()}
	for _, f := range d.found {
		r.Findings = append(r.Findings, *f)
	}
	var last int64
	for i := range d.vantages {
		v := &d.vantages[i]
		v.Uplink = d.isUplink(uint16(i))
		r.Vantages = append(r.Vantages, v.Vantage)
		last = max(last, v.seen)
	}
	if d.first != 0 {
		r.First, r.Last = time.Unix(0, d.first).UTC(), time.Unix(0, last).UTC()
	}
	return r
}
