package config

import (
	"errors"
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
