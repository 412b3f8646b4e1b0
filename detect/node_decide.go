package detect

import (
	"slices"
	"time"

	"github.com/ringside/ringside/detect/track"
)

// decide looks which signs belong together: a loss hits all at one instant, an expiry each after its own silence.
func (l *loss) decide(now int64) {
	if len(l.signs) == 0 {
		return
	}
	kept := l.signs[:0]
	for _, s := range l.signs {
		if now-s.at < expiryKeep {
			kept = append(kept, s)
		}
	}
	l.signs = kept
	if len(l.leaks) > 0 {
		return // they tell first whether translation is missing
	}
	if e := l.episodes[NATRulesLoss]; e != nil && len(e.flows) >= lossFlows {
		l.signs = slices.DeleteFunc(l.signs, func(s *sign) bool { return s.at >= e.first-lossWindow && s.at <= e.last+lossWindow })
	}
	l.signs = slices.DeleteFunc(l.signs, l.late)
	l.spare()
	instant, n, sure, firm := l.instant()
	switch {
	case n >= lossFlows && sure > 0 && firm, l.episodes[ConntrackLoss] != nil && n > 0 && sure > 0 && instant-l.episodes[ConntrackLoss].last < lossWindow:
		if l.instants = append(l.instants, lossAt{instant, l.translates(instant)}); len(l.instants) > maxInstants {
			l.instants = l.instants[1:]
		}
		l.signs = slices.DeleteFunc(l.signs, l.late)
	case sure == 0:
		l.expired(now)
	}
}

// late takes a sign into a loss that is known, if its connection has not been seen well since: those that speak seldom
// notice late.
func (l *loss) late(s *sign) bool {
	if then, ok := l.lost[s.key]; ok && s.at-then < int64(10*time.Minute) {
		return true
	}
	for _, instant := range l.instants {
		if s.before <= instant.at && instant.at <= s.at {
			l.hit(l.class(s, instant), s)
			return true
		}
	}
	return false
}

// class is that of a sign of a loss. Where a vantage shows both sides of a translation under one name, one cannot see
// whether translation as such is missing: then the node's own answers say only that something is wrong, unless other
// connections are seen to be translated meanwhile.
func (l *loss) class(s *sign, instant lossAt) Class {
	if !l.mixed(s) || instant.translates {
		return ConntrackLoss
	}
	if e := l.episodes[ConntrackLoss]; e != nil && e.findings[rulePortMigration] != nil {
		return ConntrackLoss
	}
	return Suspect
}

// mixed says whether a sign is an answer of the node's own at a vantage that shows both sides of a translation.
func (l *loss) mixed(s *sign) bool {
	return (s.rule == ruleNodeRST || s.rule == ruleNodeICMP) && l.d.vantages[s.vantage].mixed >= lossFlows
}

// translates says whether connections of the translated addresses that were hit at an instant went on after it. Those of the
// node itself, which has such an address as well, have another hop limit.
func (l *loss) translates(instant int64) bool {
	type outside struct {
		vantage uint16
		client  [16]byte
		ttl     uint8
	}
	hit := map[outside]bool{}
	for _, s := range l.signs {
		if c := s.conv; s.before <= instant && instant <= s.at && l.mixed(s) && c.ok() {
			hit[outside{s.vantage, c.Client.Addr, c.Half[track.Client].TTL}] = true
		}
	}
	if len(hit) == 0 {
		return false
	}
	n := 0
	l.d.table.Each(func(c *track.Conversation) {
		h := &c.Half[track.Client]
		if h.Data > instant && h.Progress > h.Data && hit[outside{c.Vantage, c.Client.Addr, h.TTL}] {
			n++
		}
	})
	return n >= lossFlows
}

// maxTried is how many moments are tried: of thousands of signs, one in several is as good.
const maxTried = 512

// instant finds the moment at which most signs' connections were hit: after each was last well, and before it was not. sure
// is how many of them are known not to have been silent for so long that their state may have expired, and firm whether any
// of them is a sign by itself.
func (l *loss) instant() (instant int64, n, sure int, firm bool) {
	read := l.d.readAll()
	for i := 0; i < len(l.signs); i += 1 + len(l.signs)/maxTried {
		s := l.signs[i]
		keys := map[flowKey]bool{}
		certain, certainly := 0, false
		for _, o := range l.signs {
			if o.before <= s.at && s.at <= o.at && o.at-s.at < lossWindow && !keys[o.key] {
				keys[o.key] = true
				certainly = certainly || l.firm(o)
				if !l.idle(o) && l.ripe(o, read) {
					certain++
				}
			}
		}
		if len(keys) > n || len(keys) == n && (certain > sure || certainly && !firm) {
			instant, n, sure, firm = s.at, len(keys), certain, certainly
		}
	}
	return instant, n, sure, firm
}

// idle says whether a connection had been silent so long that its state may have expired: longer than any that went on
// before, or than those that went on at that very moment.
func (l *loss) idle(s *sign) bool {
	if s.gap < aWhile {
		return false
	}
	if e := l.episodes[ConntrackExpiry]; e != nil && len(e.flows) >= lossFlows && s.gap >= e.gap-e.gap/10 {
		return true
	}
	survived := max(l.survived[0][s.vantage], l.survived[1][s.vantage])
	return s.spared >= lossFlows || s.gap >= idleAtMost && s.gap > survived+survived/5
}

// ripe says whether what could tell a sign apart from something else would have been seen, where all vantages have been read up
// to a time: connections that go on as if nothing had happened, or that leave untranslated.
func (l *loss) ripe(s *sign, read int64) bool {
	wait := int64(0)
	switch {
	case l.final:
	case s.move != nil && s.gap >= aWhile:
		wait = aWhile
	case s.rule == ruleNodeRST || s.rule == ruleNodeICMP:
		wait = settle
	}
	return wait == 0 || read-s.at >= wait
}

// spare counts for each new sign the connections of the same translated address that were there before and after it, and
// went on from the port they had: whoever forgets all connections spares none.
func (l *loss) spare() {
	fresh := false
	for _, s := range l.signs {
		fresh = fresh || s.move != nil && s.gap >= aWhile && s.spared < lossFlows
	}
	if !fresh {
		return
	}
	for _, s := range l.signs {
		s.spared = 0
	}
	l.d.table.Each(func(c *track.Conversation) {
		if c.Moved != 0 || c.From != 0 {
			return
		}
		h := &c.Half[track.Client]
		for _, s := range l.signs {
			if s.move != nil && s.vantage == c.Vantage && s.from == c.Client.Addr && s.ttl == h.TTL &&
				c.First < s.before && h.Data > s.at && h.Progress > s.at {
				s.spared++
			}
		}
	})
}

// expired reports connections that lost their state each after a long silence of its own.
func (l *loss) expired(now int64) {
	ripe := 0
	keys := map[flowKey]bool{}
	for _, s := range l.signs {
		if l.idle(s) && l.firm(s) && now-s.at >= int64(2*time.Second) {
			ripe++
			keys[s.key] = true
		}
	}
	if len(keys) < lossFlows && (l.episodes[ConntrackExpiry] == nil || ripe == 0) {
		return
	}
	l.signs = slices.DeleteFunc(l.signs, func(s *sign) bool {
		if !l.idle(s) || !l.firm(s) {
			return false
		}
		s.rule = ruleIdleMigration
		l.hit(ConntrackExpiry, s)
		return true
	})
}
