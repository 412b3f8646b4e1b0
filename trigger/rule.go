package trigger

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/hoststate"
)

// Rule makes a trigger of every event of the timeline that it matches.
type Rule struct {
	// On is what it matches: KIND [SUBJECT][: /REGEXP/], such as
	//
	//	conntrack.burst
	//	unit.restart systemd-networkd.service
	//	log unattended-upgrades: /Packages that will be upgraded/
	//	finding conntrack-loss
	//
	// KIND is one of hoststate.Kinds or a glob over them, SUBJECT a glob, both as path.Match has them; that of a finding is one
	// of the classes that packets alone can show, or a glob over them. The expression (RE2) is searched for in the event's Text
	// and Raw.
	On       string
	Reason   string         // of its triggers; default On
	Pre      *time.Duration // as in Request
	Post     *time.Duration
	Cooldown *time.Duration
	Labels   map[string]string // beside kind, subject and service of the event, of which they replace those of the same name
}

// Invalid is a field of a Rule or Schedule that cannot be used.
type Invalid struct {
	Field string // as configuration files call it, such as on
	Text  string // what is wrong, with the value, and the cure
}

func (i Invalid) Error() string { return i.Field + ": " + i.Text }

// Problems returns everything that is wrong with the rule.
func (r Rule) Problems() []Invalid {
	_, err := parseOn(r.On)
	list := invalidIf("on", err)
	if err == nil && r.Reason == "" && len(r.On) > maxReasonBytes {
		list = append(list, Invalid{"reason", fmt.Sprintf("on has %d bytes, too many for a reason: give one of %d or fewer", len(r.On), maxReasonBytes)})
	}
	request := Request{Reason: r.Reason, Pre: r.Pre, Post: r.Post, Cooldown: r.Cooldown, Labels: r.Labels}
	return append(list, request.invalid()...)
}

func invalidIf(field string, err error) []Invalid {
	if err == nil {
		return nil
	}
	return []Invalid{{field, err.Error()}}
}

// invalid checks what rules and schedules say of their requests.
func (r Request) invalid() (list []Invalid) {
	for _, c := range []struct {
		field   string
		request Request
	}{{"reason", Request{Reason: r.Reason}}, {"pre", Request{Pre: r.Pre}}, {"post", Request{Post: r.Post}}, {"cooldown", Request{Cooldown: r.Cooldown}}, {"labels", Request{Labels: r.Labels}}} {
		list = append(list, invalidIf(c.field, c.request.Check(time.Now()))...)
	}
	if r.Pre != nil && r.Post != nil && *r.Pre == 0 && *r.Post == 0 {
		list = append(list, Invalid{"post", "pre and post are both 0, which is an empty window: give one of them a duration"})
	}
	if most := maxLabels - ownLabels; len(r.Labels) > most && len(r.Labels) <= maxLabels {
		list = append(list, Invalid{"labels", fmt.Sprintf("there are %d labels: write %d or fewer, for each trigger gets some of its own", len(r.Labels), most)})
	}
	return list
}

// ownLabels is how many labels rules and schedules add at most.
const ownLabels = 4

// pattern is what Rule.On says.
type pattern struct {
	kinds   []string // that its kind stands for
	subject string   // a glob; "" for any
	text    *regexp.Regexp
}

// own are the kinds that triggers themselves leave on the timeline: a rule for one would never come to rest.
var own = []string{"trigger.accepted", "state.snapshot"}

var errOn = errors.New("is no rule: write a kind of events, then perhaps a subject, then perhaps an expression: log unattended-upgrades: /will be upgraded/")

// parseOn reads Rule.On. Its error is a sentence that names the value.
func parseOn(on string) (p pattern, err error) {
	head, expression, found := cutExpression(on)
	kind, subject, _ := strings.Cut(strings.TrimSpace(head), " ")
	if !found && strings.Contains(on, ": /") || kind == "" || !printable(on) {
		return p, fmt.Errorf("%s %w", quote(on), errOn)
	}
	if p.kinds, err = kindsOf(kind); err != nil {
		return p, err
	}
	p.subject = strings.TrimSpace(subject)
	if _, err := path.Match(p.subject, ""); err != nil {
		return p, fmt.Errorf("the subject %s is no pattern: write a name, with * for any letters, and a backslash before a [ that is meant as such", quote(p.subject))
	}
	if kind == kindFinding && p.subject != "" && !slices.ContainsFunc(findings, func(c string) bool { ok, _ := path.Match(p.subject, c); return ok }) {
		return p, fmt.Errorf("%s is no class of findings%s: there are %s", quote(p.subject), nearest(p.subject, findings), strings.Join(findings, ", "))
	}
	if found {
		if p.text, err = regexp.Compile(expression); err != nil {
			return p, fmt.Errorf("%s is no expression: %w: write one as Go's regexp has it, such as /upgraded|installed/", quote(expression), err)
		}
	}
	return p, nil
}

// kindFinding is the kind of events that detection emits; findings are the classes that they can have.
const kindFinding = "finding"

var findings = func() (list []string) {
	for _, c := range append(slices.Clone(detect.Classes), detect.StateLost, detect.Suspect) {
		if c != detect.None && c != detect.RecorderBlind { // verdicts that no finding has
			list = append(list, string(c))
		}
	}
	return list
}()

// cutExpression parts what is before the colon from what is between the slashes.
func cutExpression(on string) (head, expression string, found bool) {
	head, rest, ok := strings.Cut(on, ":")
	for ok {
		if expression, ok = strings.CutPrefix(strings.TrimSpace(rest), "/"); ok {
			expression, found = strings.CutSuffix(expression, "/")
			return head, expression, found
		}
		var more string // the colon belongs to the subject, such as an address
		more, rest, ok = strings.Cut(rest, ":")
		head += ":" + more
	}
	return on, "", false
}

// kindsOf returns the kinds that a glob stands for.
func kindsOf(glob string) (kinds []string, err error) {
	for _, k := range hoststate.Kinds {
		matched, err := path.Match(glob, k.Name)
		if err != nil {
			return nil, fmt.Errorf("%s is no pattern of kinds: write one such as unit.*", quote(glob))
		}
		if matched && !slices.Contains(own, k.Name) {
			kinds = append(kinds, k.Name)
		}
	}
	switch {
	case slices.Contains(own, glob):
		return nil, fmt.Errorf("%s is what triggers themselves leave on the timeline, and would trigger for ever: remove the rule", quote(glob))
	case kinds == nil:
		return nil, fmt.Errorf("%s is no kind of events%s: %s", quote(glob), nearestKind(glob), "docs/timeline.md lists them, such as conntrack.burst or unit.restart")
	}
	return kinds, nil
}

// nearestKind suggests the kind that is most like word, if any is.
func nearestKind(word string) string {
	names := make([]string, len(hoststate.Kinds))
	for i, k := range hoststate.Kinds {
		names[i] = k.Name
	}
	return nearest(word, names)
}

// nearest suggests the name that begins most like word, if any does.
func nearest(word string, names []string) string {
	like := func(name string) int {
		n := 0
		for n < min(len(name), len(word)) && name[n] == word[n] {
			n++
		}
		return 100*n - len(name)
	}
	best := slices.MaxFunc(names, func(a, b string) int { return cmp.Compare(like(a), like(b)) })
	if like(best) < 200 { // two letters alike, at most
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// about says whether the pattern is for the event's subject. Its kind is known to fit, its text is not looked at.
func (p *pattern) about(e *hoststate.Event) bool {
	if p.subject == "" || p.subject == e.Subject {
		return true
	}
	ok, _ := path.Match(p.subject, e.Subject) // its syntax was checked
	return ok
}

// says looks for the expression.
func (p *pattern) says(e *hoststate.Event) bool {
	return p.text == nil || p.text.MatchString(e.Text) || p.text.MatchString(e.Raw)
}
