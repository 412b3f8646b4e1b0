package detect

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/track"
)

// Thresholds of dns-failure.
const (
	nameWait    = int64(2 * time.Second) // for an answer: resolvers ask again after 1 to 5 s
	namePersist = int64(5 * time.Second) // for how long a server that was never heard has to fail
	nameFails   = 3                      // distinct questions
	maxAsked    = 4096
)

// Answers that are a failure of the server rather than of a name (RFC 1035, section 4.1.1).
const (
	servFail = 2
	notToYou = 5
)

// dnsFailure looks for name servers that do not answer, refuse, or are not there.
type dnsFailure struct {
	base
	servers map[frame.Endpoint]*nameServer
	list    []*nameServer // the same
}

// nameServer is one that was asked.
type nameServer struct {
	at       frame.Endpoint
	asked    map[uint16]question // by number: the same at each vantage
	fails    []question
	good     int64 // when it last answered as it should
	wellOnce bool
	story
}

// question is one that was asked, and how it failed.
type question struct {
	id      uint16
	vantage uint16
	client  frame.Endpoint
	at      int64
	failed  int64
	how     string
	cites   []Citation
	told    bool
}

func newDNSFailure(d *Detector) *dnsFailure {
	return &dnsFailure{base: base{d}, servers: map[frame.Endpoint]*nameServer{}}
}

func (r *dnsFailure) dns(p *frame.Packet) {
	if !p.Response {
		if p.Dst.Port == 53 {
			r.ask(p)
		}
		return
	}
	e := r.servers[p.Src]
	if e == nil {
		return
	}
	q, ok := e.asked[p.DNSID]
	if !ok {
		return
	}
	delete(e.asked, p.DNSID)
	switch p.RCode {
	case servFail:
		q.fail(e, p.Time, "answered SERVFAIL", r.d.citation(p, "SERVFAIL"))
	case notToYou:
		q.fail(e, p.Time, "refused to answer", r.d.citation(p, "REFUSED"))
	default:
		e.good, e.wellOnce = p.Time, true
	}
}

func (q question) fail(e *nameServer, at int64, how string, cite Citation) {
	q.failed, q.how = at, how
	if cite.What != "" {
		q.cites = append(q.cites, cite)
	}
	if len(e.fails) < maxKept {
		e.fails = append(e.fails, q)
	}
}

func (r *dnsFailure) ask(p *frame.Packet) {
	e := r.servers[p.Dst]
	if e == nil {
		if len(r.servers) >= maxServers/8 {
			return
		}
		e = &nameServer{at: p.Dst, asked: map[uint16]question{}}
		r.servers[p.Dst] = e
		r.list = append(r.list, e)
	}
	if _, ok := e.asked[p.DNSID]; ok || len(e.asked) >= maxAsked {
		return
	}
	e.asked[p.DNSID] = question{id: p.DNSID, vantage: p.Vantage, client: p.Src, at: p.Time, cites: []Citation{r.d.citation(p, "a question")}}
}

func (r *dnsFailure) icmp(p *frame.Packet, _ *track.Conversation, _ int) {
	if p.Quote.Protocol != frame.UDP || !unreachable(p) {
		return
	}
	e := r.servers[p.Quote.Dst]
	if e == nil {
		return
	}
	for id, q := range e.asked {
		if q.client.Port == p.Quote.Src.Port {
			delete(e.asked, id)
			q.fail(e, p.Time, "was not there (ICMP)", r.d.citation(p, "an ICMP error in answer to the question"))
		}
	}
}

func (r *dnsFailure) tick(now int64) {
	for _, e := range r.list {
		for id, q := range e.asked {
			if now-q.at > nameWait {
				delete(e.asked, id)
				if !r.d.isBlind(q.vantage, q.at) && r.d.vantages[q.vantage].in > q.at {
					q.fail(e, q.at, "did not answer", Citation{})
				}
			}
		}
		if len(e.fails) > 0 {
			slices.SortFunc(e.fails, func(a, b question) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) })
			r.judge(e, now)
		}
	}
}

func (r *dnsFailure) judge(e *nameServer, now int64) {
	e.fails = slices.DeleteFunc(e.fails, func(q question) bool { return now-q.at > nearby+nameWait })
	fresh := 0
	for _, q := range e.fails {
		if q.at > e.good && !q.told {
			fresh++
		}
	}
	if fresh == 0 {
		return
	}
	bad := slices.DeleteFunc(slices.Clone(e.fails), func(q question) bool { return q.at < e.good })
	lasts := bad[len(bad)-1].at - bad[0].at
	if !e.open(now) && (len(bad) < nameFails || !e.wellOnce && (len(bad) < 2*nameFails || lasts < namePersist)) {
		return
	}
	how := map[string]int{}
	for i := range e.fails {
		q := &e.fails[i]
		if q.at < e.good || q.told {
			continue
		}
		q.told = true
		how[q.how]++
		f := Flow{Protocol: "udp", Src: q.client.String(), Dst: e.at.String(), Service: "dns", Interface: r.d.vantages[q.vantage].Name, Fate: Hung,
			First: at(q.at), Last: at(q.failed), Citations: q.cites}
		if q.how != "did not answer" {
			f.Fate = Refused
		}
		e.tell(r.d, DNSFailure, "questions-fail", &track.Conversation{Serial: uint64(q.id)<<48 | uint64(q.at)&(1<<48-1)}, f, q.at)
	}
	most := ""
	for text, n := range how {
		if most == "" || n > how[most] || n == how[most] && text < most {
			most = text
		}
	}
	g := e.finding
	g.Confidence = 0.9
	if !e.wellOnce {
		g.Confidence = 0.7
	}
	g.Text = fmt.Sprintf("%s %s: %s failed within %s", e.at, most, some(g.Count, "question"), seconds(int64(g.Last.Sub(g.First))))
	if e.wellOnce {
		g.Text += "; before, it had answered"
	}
}
