package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ringside/ringside/trigger"
)

func defaultTrigger() trigger.Config {
	return trigger.Config{
		Pre:       2 * time.Minute,
		Post:      time.Minute,
		MaxWindow: 15 * time.Minute,
		Cooldown:  5 * time.Minute,
		Rate:      20,
		Budget:    trigger.Budget{Incidents: 12, Bytes: 20 << 30},
		Rules:     []trigger.Rule{{On: "conntrack.burst"}, {On: "conntrack.drop"}, {On: "finding conntrack-loss"}},
	}
}

// trigger reads what is accepted. Durations are at least a second because 0 means the default to the engine; a single
// request may ask for 0 before or after.
func (d *decoder) trigger(n *yaml.Node, path string, c *Config) {
	t := &c.Trigger
	before := len(d.problems)
	d.object(n, path,
		field{"pre", d.duration(&t.Pre, time.Second, 24*time.Hour)},
		field{"post", d.duration(&t.Post, time.Second, 24*time.Hour)},
		field{"max_window", d.duration(&t.MaxWindow, 10*time.Second, 24*time.Hour)},
		field{"cooldown", d.duration(&t.Cooldown, time.Second, 24*time.Hour)},
		field{"rate", d.number(&t.Rate, 0.1, 100000)},
		field{"http_rate", d.number(&c.TriggerRate, 0.1, 100000)},
		field{"drop_dir", d.optional("none", &t.DropDir, d.path(&t.DropDir))},
		field{"rules", func(n *yaml.Node, path string) { d.rules(n, path, &t.Rules) }},
		field{"schedule", func(n *yaml.Node, path string) { d.schedules(n, path, &t.Schedules) }},
		field{"budget", func(n *yaml.Node, path string) {
			b := &t.Budget
			d.object(n, path,
				field{"incidents_per_hour", d.count(&b.Incidents, 1, 100000)},
				field{"bytes_per_day", d.size(&b.Bytes, 8<<20, 1<<50)},
				field{"pinned", d.orWord("auto", 0, &b.Pinned, d.size(&b.Pinned, 8<<20, math.MaxInt64/2))})
		}},
	)
	if len(d.problems) == before && t.Pre+t.Post > t.MaxWindow {
		d.wrong(path+".max_window", "%v is less than pre and post together (%v): raise it, or lower them", t.MaxWindow, t.Pre+t.Post)
	}
	if len(d.problems) > before {
		return
	}
	for i, r := range t.Rules {
		d.fits(fmt.Sprintf("%s.rules[%d]", path, i), t, r.Pre, r.Post)
	}
	for i, s := range t.Schedules {
		d.fits(fmt.Sprintf("%s.schedule[%d]", path, i), t, s.Pre, s.Post)
	}
}

// fits holds the window of a rule or schedule against the longest one.
func (d *decoder) fits(path string, t *trigger.Config, pre, post *time.Duration) {
	window := t.Pre + t.Post
	if pre != nil {
		window += *pre - t.Pre
	}
	if post != nil {
		window += *post - t.Post
	}
	if window > t.MaxWindow {
		d.wrong(path, "pre and post together (%v) are more than trigger.max_window (%v): lower them, or raise that", window, t.MaxWindow)
	}
}

// maxRules bounds rules, and schedules: each event of the timeline is held against the former.
const maxRules = 200

func (d *decoder) rules(n *yaml.Node, path string, dst *[]trigger.Rule) {
	var list []trigger.Rule
	d.list(n, path, func(n *yaml.Node, path string) {
		var r trigger.Rule
		d.entry(n, path, func() []trigger.Invalid { return r.Problems() },
			field{"on", d.text(&r.On)},
			field{"reason", d.text(&r.Reason)},
			field{"pre", d.some(&r.Pre)},
			field{"post", d.some(&r.Post)},
			field{"cooldown", d.some(&r.Cooldown)},
			field{"labels", d.labels(&r.Labels)})
		list = append(list, r)
	})
	if len(list) > maxRules {
		d.problem(n, path, "%d rules: at most %d are possible, use a * for many kinds or subjects", len(list), maxRules)
	}
	*dst = list
}

func (d *decoder) schedules(n *yaml.Node, path string, dst *[]trigger.Schedule) {
	var list []trigger.Schedule
	d.list(n, path, func(n *yaml.Node, path string) {
		var s trigger.Schedule
		d.entry(n, path, func() []trigger.Invalid { return s.Problems() },
			field{"cron", d.text(&s.Cron)},
			field{"zone", d.text(&s.Zone)},
			field{"reason", d.text(&s.Reason)},
			field{"pre", d.some(&s.Pre)},
			field{"post", d.some(&s.Post)},
			field{"labels", d.labels(&s.Labels)})
		list = append(list, s)
	})
	if len(list) > maxRules {
		d.problem(n, path, "%d schedules: at most %d are possible", len(list), maxRules)
	}
	*dst = list
}

// entry reads a mapping of a list, and has it judged as a whole unless it could not be read.
func (d *decoder) entry(n *yaml.Node, path string, judge func() []trigger.Invalid, fields ...field) {
	before := len(d.problems)
	d.lines[path] = n.Line
	if isNull(n) {
		d.problem(n, path, noValue)
	}
	d.object(n, path, fields...)
	if len(d.problems) > before {
		return
	}
	for _, p := range judge() {
		d.wrong(join(path, p.Field), "%s", p.Text)
	}
}

func (d *decoder) text(dst *string) func(*yaml.Node, string) {
	return d.scalar(func(s string) error { *dst = s; return nil })
}

// some reads a duration whose default is another's.
func (d *decoder) some(dst **time.Duration) func(*yaml.Node, string) {
	var v time.Duration
	read := d.duration(&v, 0, trigger.MaxDuration)
	return func(n *yaml.Node, path string) {
		read(n, path)
		*dst = &v
	}
}

// labels reads a mapping of texts. What they may be, trigger knows.
func (d *decoder) labels(dst *map[string]string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		labels := map[string]string{}
		if n.Kind != yaml.MappingNode {
			d.problem(n, path, `%s where a mapping is expected: write {NAME: "VALUE"}`, shown(n))
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, at := n.Content[i].Value, path
			if keyLike.MatchString(key) {
				at = join(path, key)
			}
			if _, ok := labels[key]; ok {
				d.problem(n.Content[i], at, "the label is given twice: remove one")
			}
			d.scalar(func(s string) error { labels[key] = s; return nil })(follow(n.Content[i+1]), at)
		}
		*dst = labels
	}
}

// number reads a plain number, whose unit is in its key.
func (d *decoder) number(dst *float64, least, most float64) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || !(v >= least && v <= most) {
			return errors.New("is no number in range: write one from " + formatNumber(least) + " to " + formatNumber(most))
		}
		*dst = v
		return nil
	})
}

// count reads a whole number.
func (d *decoder) count(dst *int, least, most int) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		v, err := strconv.Atoi(s)
		if err != nil || v < least || v > most {
			return errors.New("is no whole number in range: write one from " + strconv.Itoa(least) + " to " + strconv.Itoa(most))
		}
		*dst = v
		return nil
	})
}

func formatNumber(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
