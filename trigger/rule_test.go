package trigger

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// TestRuleMatches holds what rules say against events.
func TestRuleMatches(t *testing.T) {
	networkd := hoststate.Event{Kind: "unit.restart", Subject: "systemd-networkd.service", Text: "systemd-networkd.service was restarted"}
	burst := hoststate.Event{Kind: "conntrack.burst", Subject: "kernel", Text: "40 flows lost their entries"}
	upgrade := hoststate.Event{Kind: "log", Subject: "unattended-upgrades", Text: "packages are upgraded", Raw: "INFO Packages that will be upgraded: systemd"}
	neighbour := hoststate.Event{Kind: "neighbour.change", Subject: "fe80::1", Text: "the gateway fe80::1 cannot be reached"}
	bracket := hoststate.Event{Kind: "log", Subject: "a[1]", Text: "what: /else/"}
	loss := hoststate.Event{Kind: "finding", Subject: "conntrack-loss", Text: "3 connections to orders-db went on from another port"}
	all := []hoststate.Event{networkd, burst, upgrade, neighbour, bracket, loss}
	for on, want := range map[string][]hoststate.Event{
		"conntrack.burst":                                           {burst},
		"unit.restart systemd-networkd.service":                     {networkd},
		"unit.restart  systemd-networkd.service":                    {networkd},
		"unit.* systemd-*":                                          {networkd},
		"unit.* containerd.service":                                 nil,
		"log unattended-upgrades: /Packages that will be upgraded/": {upgrade},
		"log: /are upgraded/":                                       {upgrade},
		"log unattended-upgrades: /installed/":                      nil,
		"log unattended-upgrades:/(?i)packages/":                    {upgrade},
		"log: /upgraded: s/":                                        {upgrade},
		"conntrack.burst userspace":                                 nil,
		"*.burst":                                                   {burst},
		"finding conntrack-loss":                                    {loss},
		"finding conntrack-*":                                       {loss},
		"finding":                                                   {loss},
		"finding *-loss: /orders-db/":                               {loss},
		"finding server-slow":                                       nil,
		"f* conntrack-loss":                                         {loss},
		"neighbour.change fe80::1":                                  {neighbour},
		"neighbour.change fe80::*: /cannot/":                        {neighbour},
		`log a\[1]`:                                                 {bracket},
		"log: /what: /":                                             {bracket},
		"log ?[[]1]: //else//":                                      {bracket},
		"log *":                                                     {upgrade, bracket},
		"[a-z]*.restart":                                            {networkd},
		"network.gap":                                               nil,
		"log unattended-upgrades: /^INFO|^packages/":                {upgrade},
	} {
		p, err := parseOn(on)
		if err != nil {
			t.Errorf("%s: %v", on, err)
			continue
		}
		var got []hoststate.Event
		for _, e := range all {
			if slices.Contains(p.kinds, e.Kind) && p.about(&e) && p.says(&e) {
				got = append(got, e)
			}
		}
		if len(got) != len(want) || !slices.EqualFunc(got, want, func(a, b hoststate.Event) bool { return a.Text == b.Text }) {
			t.Errorf("%s matches %v, want %v", on, got, want)
		}
	}
}

func TestRuleProblems(t *testing.T) {
	for on, want := range map[string]string{
		"":                           "is no rule",
		" : /x/":                     "is no rule",
		"log dpkg: /x":               "is no rule",
		"log dpkg: /":                "is no rule",
		"log\n":                      "is no rule",
		"log dpkg: /(/":              "is no expression",
		"conntrack.bursts":           `did you mean "conntrack.burst"?`,
		"unit.restarted ssh.service": `did you mean "unit.restart"?`,
		"Unit.restart":               "is no kind of events: docs/timeline.md",
		"no.such":                    "is no kind of events",
		"unit.[":                     "is no pattern of kinds",
		"unit.stop [":                "is no pattern: write a name",
		"finding conntrack-los":      `did you mean "conntrack-loss"?`,
		"finding none":               "is no class of findings",
		"finding recorder-blind":     "is no class of findings",
		"finding x*: /y/":            "there are conntrack-loss, ",
		"findings conntrack-loss":    `did you mean "finding"?`,
		"trigger.accepted":           "for ever",
		"trigger.*":                  "is no kind of events",
		"state.snapshot quiet":       "for ever",
		strings.Repeat("x", 1<<20):   "is no kind of events",
		"log: /" + strings.Repeat("(", 2000) + "/": "is no expression",
	} {
		got := Rule{On: on, Reason: "x"}.Problems()
		if len(got) != 1 || got[0].Field != "on" || !strings.Contains(got[0].Text, want) || len(got[0].Text) > 5000 {
			t.Errorf("%.60q: %v, want %s", on, got, want)
		}
	}
	minute, day, nothing := time.Minute, 25*time.Hour, time.Duration(0)
	many := map[string]string{}
	for i := range maxLabels - ownLabels + 1 {
		many["l"+strings.Repeat("x", i)] = ""
	}
	for _, c := range []struct {
		rule  Rule
		field string
	}{
		{Rule{Reason: "a\nb"}, "reason"}, {Rule{Pre: &day}, "pre"}, {Rule{Post: &day}, "post"}, {Rule{Cooldown: &day}, "cooldown"},
		{Rule{Labels: map[string]string{"a b": ""}}, "labels"}, {Rule{Labels: many}, "labels"}, {Rule{Pre: &nothing, Post: &nothing}, "post"},
		{Rule{Pre: &nothing, Post: &minute, Cooldown: &nothing}, ""}, {Rule{Reason: "x", Labels: map[string]string{"a": "b"}}, ""},
	} {
		c.rule.On = "conntrack.burst"
		got := c.rule.Problems()
		if c.field == "" && got != nil || c.field != "" && (len(got) != 1 || got[0].Field != c.field) {
			t.Errorf("%+v: %v, want a problem with %q", c.rule, got, c.field)
		}
	}
	if got := (Rule{On: "log: /" + strings.Repeat("x", 130) + "/"}).Problems(); len(got) != 1 || got[0].Field != "reason" {
		t.Errorf("a rule whose text is no reason: %v", got)
	}
}

// FuzzRule: whatever a rule says, it is refused in a line, or matches without a panic.
func FuzzRule(f *testing.F) {
	for _, on := range []string{"conntrack.burst", "log a: /b/", "unit.* x*", "log:", "log : /", "*", "neighbour.change fe80::1: /x/", `log \`} {
		f.Add(on)
	}
	f.Fuzz(func(t *testing.T, on string) {
		problems := Rule{On: on, Reason: "x"}.Problems()
		for _, p := range problems {
			if p.Text == "" || strings.ContainsAny(p.Text, "\n\r") {
				t.Fatalf("%q: %q", on, p.Text)
			}
		}
		p, err := parseOn(on)
		if (err == nil) != (problems == nil) {
			t.Fatalf("%q: %v, but %v", on, err, problems)
		}
		if err == nil && len(p.kinds) == 0 {
			t.Fatalf("%q stands for no kind", on)
		}
		if err == nil {
			p.about(&hoststate.Event{Subject: on})
			p.says(&hoststate.Event{Text: on})
		}
	})
}
