package network

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ringside/ringside/hoststate"
)

// RulesetChange is the data of ruleset.change, of nftables. A change is told twice: "begin" as soon as the kernel tells of a
// generation, once for each process that makes some; "end" when the rule set has been read, which sums up all generations since the
// last "end".
type RulesetChange struct {
	Phase       string `json:"phase"`       // begin, end
	From        uint32 `json:"from"`        // the generation before
	To          uint32 `json:"to"`          // the last one so far
	Generations int    `json:"generations"` // of which the kernel told, between them

	By     []Author `json:"by"`               // of the generations, at most 8
	Before string   `json:"before,omitempty"` // digests of the rule set, in "end"
	After  string   `json:"after,omitempty"`
	Rules  int      `json:"rules"` // there are after it, in "end"
	Torn   bool     `json:"torn,omitempty"`

	Added   int             `json:"added"`   // rules
	Removed int             `json:"removed"` // rules
	Chains  []ChainChange   `json:"chains,omitempty"`
	Sets    []ElementChange `json:"sets,omitempty"`
	Left    int             `json:"left,omitempty"` // changed chains and sets beyond the 100 that are listed
}

// Author is who made generations.
type Author struct {
	hoststate.Process
	Generations int `json:"generations"`
}

// ChainChange is what became of a chain.
type ChainChange struct {
	Chain     string   `json:"chain"`            // such as "ip nat POSTROUTING"
	Before    string   `json:"before,omitempty"` // "": it is new
	After     string   `json:"after,omitempty"`  // "": it is gone
	Added     int      `json:"added,omitempty"`  // rules
	Removed   int      `json:"removed,omitempty"`
	Reordered bool     `json:"reordered,omitempty"`
	Plus      []string `json:"plus,omitempty"` // of the added rules the first 20 whose text is known
	Minus     []string `json:"minus,omitempty"`
}

// ElementChange is what became of a set.
type ElementChange struct {
	Set    string `json:"set"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

const (
	maxChanges = 100
	maxTexts   = 20       // of a chain
	maxTelling = 64 << 10 // bytes of rules' texts in an event
)

// difference fills in what makes now of old.
func (d *RulesetChange) difference(old, now *Ruleset) {
	d.Before, d.After, d.Rules, d.Torn = old.Digest(), now.Digest(), now.Rules, now.Torn
	room := maxTelling
	for _, name := range union(old.chains, now.chains) {
		before, after := old.chains[name], now.chains[name]
		if before != nil && after != nil && before.head == after.head && slices.Equal(before.hashes, after.hashes) {
			continue
		}
		c := ChainChange{Chain: name}
		if before != nil {
			c.Before = before.String()
		} else {
			before = &chain{}
		}
		if after != nil {
			c.After = after.String()
		} else {
			after = &chain{}
		}
		c.Added, c.Plus = without(after, before, &room)
		c.Removed, c.Minus = without(before, after, &room)
		c.Reordered = c.Added+c.Removed == 0 && !slices.Equal(before.hashes, after.hashes)
		d.Added, d.Removed = d.Added+c.Added, d.Removed+c.Removed
		if len(d.Chains) < maxChanges {
			d.Chains = append(d.Chains, c)
		} else {
			d.Left++
		}
	}
	for _, name := range union(old.sets, now.sets) {
		c := ElementChange{Set: name}
		if s := old.sets[name]; s != nil {
			c.Before = s.String()
		}
		if s := now.sets[name]; s != nil {
			c.After = s.String()
		}
		switch {
		case c.Before == c.After:
		case len(d.Sets) < maxChanges:
			d.Sets = append(d.Sets, c)
		default:
			d.Left++
		}
	}
}

func union[V any](a, b map[string]V) []string {
	return slices.Compact(slices.Sorted(func(yield func(string) bool) {
		for k := range maps.Keys(a) {
			if !yield(k) {
				return
			}
		}
		for k := range maps.Keys(b) {
			if !yield(k) {
				return
			}
		}
	}))
}

// without counts the rules of c that other has not, and has the text of some, as far as there is room.
func without(c, other *chain, room *int) (n int, texts []string) {
	there := map[uint64]int{}
	for _, h := range other.hashes {
		there[h]++
	}
	for i, h := range c.hashes {
		if there[h] > 0 {
			there[h]--
			continue
		}
		n++
		if i < len(c.texts) && len(texts) < maxTexts && len(c.texts[i]) <= *room {
			texts = append(texts, c.texts[i])
			*room -= len(c.texts[i])
		}
	}
	return n, texts
}

// what says in a sentence what an "end" has found.
func (d *RulesetChange) what() string {
	changed := len(d.Chains) + len(d.Sets) + d.Left
	switch {
	case changed == 0:
		return "and is the same as before"
	case changed == 1 && len(d.Chains) == 1:
		return fmt.Sprintf("%d rules were added to and %d removed from %s", d.Added, d.Removed, d.Chains[0].Chain)
	}
	return fmt.Sprintf("%d rules were added and %d removed, in %d chains; %d sets changed", d.Added, d.Removed, len(d.Chains), len(d.Sets))
}
