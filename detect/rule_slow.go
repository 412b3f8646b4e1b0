package detect

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/ringside/ringside/detect/track"
)

// Thresholds of server-slow and server-overload.
const (
	slowAtLeast  = int64(500 * time.Millisecond) // beyond a delayed acknowledgement and what people notice
	slowTimes    = 10                            // times the service's usual answer: most vary by less
	slowBeyond   = 3                             // times what all but a few of its answers take
	usualAnswers = 20                            // that say what is usual
	slowWindow   = nearby
)

// slowness is how long a server takes to answer.
type slowness struct {
	usual  [48]uint32 // answers by time, in half octaves
	n      uint32
	prompt [128]tally // answers that were not late, by when they were asked for
	late   []lateAnswer

	slow     story
	overload story
}

// tally counts in a tenth of a second.
type tally struct {
	at int64
	n  uint32
}

const tallyStep = int64(100 * time.Millisecond)

// lateAnswer is one that took much longer than usual.
type lateAnswer struct {
	ref
	asked, at int64
	cites     []Citation
	told      bool
}

// halfOctave is the half octave of a time in ns.
func halfOctave(ns int64) int {
	const first = 8000 // ns
	octave := min(bits.Len64(uint64(max(ns-1, 0)/first)), 23)
	if octave > 0 && ns < first<<octave*3/4 {
		return 2*octave - 1
	}
	return 2 * octave
}

// percent is what so many of 100 answers take at most, in ns, within half an octave.
func (s *slowness) percent(p uint32) int64 {
	sum := uint32(0)
	for i, n := range s.usual {
		if sum += n; sum*100 >= s.n*p {
			return int64(8000) << (i / 2)
		}
	}
	return 0
}

// limit is beyond what an answer is late, 0 as long as nobody knows.
func (s *slowness) limit() int64 {
	if s.n < usualAnswers {
		return 0
	}
	return max(slowAtLeast, slowTimes*s.percent(50), slowBeyond*s.percent(95))
}

// isLate says whether an answer took too long, as far as anybody knows.
func (s *slowness) isLate(took int64) bool {
	if took <= slowAtLeast {
		return false
	}
	limit := s.limit()
	return limit != 0 && took > limit
}

// answered takes an answer. Its time counts from the last payload of the request.
func (w *services) answered(s *track.Seen) {
	now := s.Packet.Time
	asked := s.Half[track.Client].Data
	if asked == 0 || now < asked {
		return
	}
	e := w.recent[place(&s.Server)]
	if e == nil || e.at != s.Server {
		if e = w.server(s.Conversation, now); e == nil {
			return
		}
		w.recent[place(&s.Server)] = e
	}
	e.last = now
	m := &e.answers
	took := now - asked
	if m.isLate(took) {
		client := &s.Half[track.Client]
		if client.Progress < asked || client.Progress-asked > took/2 {
			return // it was not acknowledged at once: the network had it
		}
		w.touch(e, now)
		m.late = keep(w, m.late, lateAnswer{ref: refer(s.Conversation), asked: asked, at: now,
			cites: []Citation{w.d.citation(s.Packet, fmt.Sprintf("the answer, %s after the request", seconds(took)))}})
		return
	}
	m.usual[halfOctave(took)]++
	m.n++
	t := &m.prompt[asked/tallyStep%int64(len(m.prompt))]
	if t.at != asked/tallyStep {
		*t = tally{at: asked / tallyStep}
	}
	t.n++
}

// waits says whether a connection waits for an answer that is late, of a server that has the request.
func (m *slowness) waits(c *track.Conversation, now int64) bool {
	client := &c.Half[track.Client]
	limit := m.limit()
	return limit != 0 && c.Asked != 0 && c.Live() && counts(c) && now-client.Data > limit && client.Progress >= client.Data && client.Outstanding() == 0
}

// unanswered takes, at the end of the capture, what has not been answered at all.
func (w *services) unanswered(now int64) {
	w.d.table.Each(func(c *track.Conversation) {
		if e := w.servers[c.Server]; e != nil && e.answers.waits(c, now) {
			w.touch(e, now)
			e.answers.late = keep(w, e.answers.late, lateAnswer{ref: refer(c), asked: c.Half[track.Client].Data, at: now,
				cites: []Citation{w.d.citeLast(c, track.Client, "a request that is not answered")}})
		}
	})
	for _, e := range w.busy {
		w.slowed(e, now+judgeAfter)
	}
}

func (m *slowness) forget(now int64) {
	m.late = slices.DeleteFunc(m.late, func(l lateAnswer) bool { return !l.ok() || now-l.at > slowWindow+judgeAfter })
}

// prompts counts answers in time to requests of a stretch of time.
func (m *slowness) prompts(from, to int64) (n int) {
	for _, t := range m.prompt {
		if t.at > from/tallyStep && t.at < to/tallyStep {
			n += int(t.n)
		}
	}
	return n
}

// slowed looks whether a whole service answers late, and whether it takes new connections meanwhile.
func (w *services) slowed(e *server, now int64) {
	m := &e.answers
	if len(m.late) == 0 || now-m.late[0].at < judgeAfter {
		return
	}
	flows := distinct{}
	asked, until, limit := m.late[0].asked, int64(0), m.limit()
	fresh := 0
	for i := range m.late {
		l := &m.late[i]
		if !counts(l.Conversation) || l.Half[track.Client].Again > 0 && l.Half[track.Client].RepeatedAt >= l.asked {
			continue
		}
		flows.add(l.Conversation)
		asked, until = min(asked, l.asked), max(until, l.at)
		if !l.told {
			fresh++
		}
	}
	unheard := 0
	for i := range e.calls {
		c := &e.calls[i]
		if r := outcome(c, now); (r == silent || r == late) && counts(c.Conversation) && c.at > asked-slowAtLeast && c.at < until+slowAtLeast {
			unheard++
		}
	}
	prompt := m.prompts(asked, until-limit)
	if fresh == 0 || prompt*4 > len(flows) {
		return
	}
	switch {
	case unheard > 0 && len(flows) > 1 && len(flows)+unheard >= someFlows:
		w.tellSlow(e, &m.overload, ServerOverload, asked, until, now)
	case unheard == 0 && len(flows) >= someFlows && !m.overload.open(now) && !w.outages.open(now) && !w.losses.open(now):
		w.tellSlow(e, &m.slow, ServerSlow, asked, until, now)
	}
}

func (w *services) tellSlow(e *server, s *story, class Class, from, to, now int64) {
	d, m := w.d, &e.answers
	worst := int64(0)
	for i := range m.late {
		l := &m.late[i]
		worst = max(worst, l.at-l.asked)
		if l.told || !counts(l.Conversation) {
			continue
		}
		l.told = true
		fate := Recovered
		if l.Asked != 0 && l.Half[track.Client].Data == l.asked {
			fate = Hung
		}
		f := d.flow(l.Conversation, fate, l.asked, l.at)
		f.Citations = l.cites
		if !s.tell(d, class, "answered-late", l.Conversation, f, l.at) {
			s.finding.Last = at(max(s.finding.Last.UnixNano(), l.at))
		}
	}
	g := s.finding
	g.Confidence = 0.88
	g.Text = fmt.Sprintf("%s acknowledged requests of %s at once and answered up to %s later; before, half of its answers took no more than %s, and nearly all no more than %s",
		e.at, some(g.Count, "connection"), seconds(worst), short(m.percent(50)), short(m.percent(95)))
	if class == ServerSlow {
		return
	}
	n := 0
	for i := range e.calls {
		c := &e.calls[i]
		if r := outcome(c, now); (r == silent || r == late) && counts(c.Conversation) && c.at > from-slowAtLeast {
			n++
			w.tellCall(s, class, "answered-late", c, now)
		}
	}
	g.Text += fmt.Sprintf("; meanwhile SYNs of %s had to be sent again", some(n, "new connection"))
}

// short is a length of time that may be much less than a second.
func short(ns int64) string {
	if ns < int64(time.Millisecond) {
		return fmt.Sprintf("%.2g ms", float64(ns)/1e6)
	}
	return seconds(ns)
}
