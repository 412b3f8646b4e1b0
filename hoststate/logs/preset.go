package logs

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// Preset says which files are followed, which of their lines are events, and how these are dated.
type Preset struct {
	Name  string   // the subject of its events, unless its lines name one
	Paths []string // absolute, within Config.Root; globs as path.Match has them

	// Match selects lines; nil selects all that are not blank. Its named groups become fields of Event.Data; the group
	// time dates the line, and for Observations see there.
	Match *regexp.Regexp

	// Time is the layout of the time that begins the line, or of the group time, as package time has it. Without a zone
	// in it, it is the host's local time. "" knows RFC 3339, syslog's form, and 2006-01-02 15:04:05 with a
	// fraction or without.
	Time string

	// Observations makes events of the kind observation. The groups of Match, or where it is nil, the fields of the JSON
	// object that each line is, are those of POST /v1/observations: time, service, what, duration, local, peer, trace,
	// severity. Other lines are left out.
	Observations bool

	parser func(*zone) parser // of known presets
}

// parser makes events of the lines of one file, which come in their order, from the first or from a place.
type parser interface {
	// parse returns the event of a line that was written at written or before, and false if it is none. Its Time is zero
	// if the line does not say; Data is not set, facts is what goes into it.
	parse(line string, written time.Time) (e hoststate.Event, f facts, ok bool)

	// open says that a record of several lines is under way. A restart reads it again from its first line.
	open() bool
}

// facts is what a line says, for Event.Data.
type facts map[string]any

// lineByLine is embedded by parsers whose records are lines.
type lineByLine struct{}

func (lineByLine) open() bool { return false }

// known is the presets of well-known programs.
var known = []Preset{
	{Name: "dpkg", Paths: []string{"/var/log/dpkg.log"}, parser: func(z *zone) parser { return dpkg{zone: z} }},
	{Name: "apt", Paths: []string{"/var/log/apt/history.log"}, parser: func(z *zone) parser { return &apt{zone: z} }},
	{Name: "unattended-upgrades", Paths: []string{"/var/log/unattended-upgrades/unattended-upgrades.log"},
		parser: func(z *zone) parser { return &upgrades{zone: z} }},
	{Name: "needrestart", Paths: []string{"/var/log/apt/term.log"}, // of unattended-upgrades too, whose own log of it repeats it
		parser: func(z *zone) parser { return &terminal{zone: z} }},
}

// Known returns the names of the presets for well-known programs, all of which may be followed where these are not
// installed.
func Known() []string {
	var names []string
	for _, p := range known {
		names = append(names, p.Name)
	}
	return names
}

// Lookup returns a preset of Known.
func Lookup(name string) (Preset, bool) {
	i := slices.IndexFunc(known, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Preset{}, false
	}
	return known[i], true
}

// newParser returns the parser for one file of the preset.
func (p *Preset) newParser(z *zone) parser {
	if p.parser != nil {
		return p.parser(z)
	}
	return &custom{preset: p, zone: z}
}

// size is a number of bytes in words.
func size(n int64) string {
	switch {
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", (n+1<<10-1)>>10)
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
