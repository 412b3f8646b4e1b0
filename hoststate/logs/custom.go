package logs

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// custom reads the lines of a preset that the user wrote.
type custom struct {
	lineByLine
	preset *Preset
	zone   *zone
}

func (c *custom) parse(text string, written time.Time) (e hoststate.Event, f facts, ok bool) {
	f, ok = c.fields(text)
	if !ok {
		return e, nil, false
	}
	stamp, given := f["time"].(string)
	if !given {
		stamp = text
	}
	layouts := layouts
	if c.preset.Time != "" {
		layouts = []string{c.preset.Time}
	}
	t, rest, dated := c.zone.stamp(stamp, written, layouts...)
	e = hoststate.Event{Kind: "log", Subject: c.preset.Name, Time: t, Text: c.preset.Name + ": " + text}
	if dated && !given {
		e.Text = c.preset.Name + ": " + strings.TrimSpace(rest)
	}
	if c.preset.Observations {
		e, ok = observation(t, f)
	}
	return e, f, ok
}

// fields finds what the line says.
func (c *custom) fields(text string) (facts, bool) {
	f := facts{}
	if c.preset.Match == nil {
		if c.preset.Observations {
			return f, json.Unmarshal([]byte(text), &f) == nil && f != nil
		}
		return f, strings.TrimSpace(text) != ""
	}
	found := c.preset.Match.FindStringSubmatch(text)
	for i, name := range c.preset.Match.SubexpNames() {
		if found != nil && name != "" && found[i] != "" {
			f[name] = found[i]
		}
	}
	return f, found != nil
}

// observation makes one of a line's fields, in the words of the API. One that does not say what was seen is none.
func observation(t time.Time, f facts) (hoststate.Event, bool) {
	text := func(name string) string {
		switch v := f[name].(type) {
		case nil:
			return ""
		case string:
			return v
		default:
			return fmt.Sprint(v)
		}
	}
	e := hoststate.Event{Kind: "observation", Subject: text("service"), Time: t, Text: text("what")}
	if e.Subject == "" {
		e.Subject = text("peer")
	}
	if e.Text == "" {
		return e, false
	}
	if d := text("duration"); d != "" {
		e.Text += " after " + d
	}
	if local, peer := text("local"), text("peer"); local != "" || peer != "" {
		e.Text += fmt.Sprintf(" (%s → %s)", orUnknown(local), orUnknown(peer))
	}
	return e, true
}

func orUnknown(s string) string {
	if s == "" {
		return "?"
	}
	return s
}
