package config

import (
	"errors"
	"fmt"
	"math"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Hoststate says what is watched beside the packets.
type Hoststate struct {
	Watch     []string  // names out of Watchers; empty for none
	Root      string    // of the host's file system
	Units     []string  // globs; Usual stands for the units that are watched unless configured
	Logs      []LogFile // one named Usual stands for all presets
	Conntrack Conntrack
	Keep      HostKeep
}

// Watchers is every watcher there is.
var Watchers = []string{"conntrack", "counters", "network", "ruleset", "sysctls", "units", "journal", "logs", "kernel", "state"}

// Usual in a list stands for what is in it by default.
const Usual = "default"

// LogFile is a log that is followed: a preset by its name, or a file of the user's own.
type LogFile struct {
	Name  string
	Path  string // absolute, below Root, the last part perhaps a glob; "" for a preset
	Match string // RE2, of the lines that are kept; "" for all
	Time  string // layout of the time that begins a line, as Go's package time has it; "" for the usual forms
	Kind  string // of its events: "log" or "observation"; "" for a preset
}

// Conntrack is how the kernel's connection tracking is watched.
type Conntrack struct {
	Digest time.Duration // between two looks at the table
	Buffer int64         // bytes of the socket
}

// HostKeep bounds the timeline; its age is that of the spool.
type HostKeep struct{ Bytes int64 } // 0 leaves the choice to the timeline

func defaultHoststate() Hoststate {
	return Hoststate{
		Watch: slices.Clone(Watchers), Root: "/", Units: []string{Usual}, Logs: []LogFile{{Name: Usual}},
		Conntrack: Conntrack{Digest: 10 * time.Second, Buffer: 20 << 20},
	}
}

const maxWatched = 100 // units, and logs

func (d *decoder) hoststate(n *yaml.Node, path string, h *Hoststate) {
	d.object(n, path,
		field{"watch", func(n *yaml.Node, path string) { d.watch(n, path, &h.Watch) }},
		field{"root", d.path(&h.Root)},
		field{"units", func(n *yaml.Node, path string) { d.units(n, path, &h.Units) }},
		field{"logs", func(n *yaml.Node, path string) { d.logs(n, path, &h.Logs) }},
		field{"conntrack", func(n *yaml.Node, path string) {
			d.object(n, path,
				field{"digest", d.duration(&h.Conntrack.Digest, time.Second, time.Hour)},
				field{"buffer", d.size(&h.Conntrack.Buffer, 64<<10, 256<<20)})
		}},
		field{"keep", func(n *yaml.Node, path string) {
			d.object(n, path, field{"bytes", d.orWord("auto", 0, &h.Keep.Bytes, d.size(&h.Keep.Bytes, 8<<20, math.MaxInt64/2))})
		}},
	)
}

// watch reads all, none, or a list of watchers.
func (d *decoder) watch(n *yaml.Node, path string, dst *[]string) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Value == "all":
		*dst = slices.Clone(Watchers)
	case n.Kind == yaml.ScalarNode && n.Value == None:
		*dst = nil
	default:
		d.names(n, path, dst, func(name string) error {
			if !slices.Contains(Watchers, name) {
				return fmt.Errorf("is no watcher%s: write all, none, or a list of %s", suggest(name, Watchers), orList(Watchers))
			}
			return nil
		})
	}
}

func (d *decoder) units(n *yaml.Node, at string, dst *[]string) {
	d.names(n, at, dst, func(glob string) error {
		if _, err := path.Match(glob, ""); err != nil || glob == "" || strings.ContainsAny(glob, " /") {
			return errors.New("is no unit: write a name, such as containerd.service, with * for any letters")
		}
		return nil
	})
}

// names reads a list of texts, each of which check must let pass, and none twice.
func (d *decoder) names(n *yaml.Node, path string, dst *[]string, check func(string) error) {
	var list []string
	d.list(n, path, func(n *yaml.Node, path string) {
		d.scalar(func(s string) error {
			if slices.Contains(list, s) {
				return errors.New("is given twice: remove one")
			}
			list = append(list, s)
			return check(s)
		})(n, path)
	})
	if len(list) > maxWatched {
		d.problem(n, path, "%d entries: at most %d are possible, use a * for many", len(list), maxWatched)
	}
	*dst = list
}

var logName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// logs reads a list of presets and of files in full. Which presets there are, the watcher knows.
func (d *decoder) logs(n *yaml.Node, path string, dst *[]LogFile) {
	var list []LogFile
	d.list(n, path, func(n *yaml.Node, path string) {
		l, before := LogFile{}, len(d.problems)
		if n.Kind == yaml.MappingNode {
			d.logFile(n, path, &l)
		} else {
			d.logName(&l.Name)(n, path)
		}
		if len(d.problems) == before && slices.ContainsFunc(list, func(o LogFile) bool { return o.Name == l.Name }) {
			d.problem(n, path, "the log %s is given twice: remove one, or give it another name", l.Name)
		}
		list = append(list, l)
	})
	if len(list) > maxWatched {
		d.problem(n, path, "%d logs: at most %d are possible, use a * in their paths", len(list), maxWatched)
	}
	*dst = list
}

func (d *decoder) logFile(n *yaml.Node, path string, l *LogFile) {
	before := len(d.problems)
	l.Kind = "log"
	d.object(n, path,
		field{"name", d.logName(&l.Name)},
		field{"path", d.logPath(&l.Path)},
		field{"match", d.scalar(func(s string) error {
			l.Match = s
			if _, err := regexp.Compile(s); err != nil {
				return fmt.Errorf("is no expression: %w: write one as Go's regexp has it, such as upgraded|installed", err)
			}
			return nil
		})},
		field{"time", d.scalar(func(s string) error {
			if l.Time = s; time.Now().Format(s) == s {
				return errors.New("has no part of a time: write Monday, 2 January 2006 at 15:04:05 as the log would")
			}
			return nil
		})},
		field{"kind", d.choice(&l.Kind, "log", "observation")},
	)
	if len(d.problems) == before && (l.Name == "" || l.Path == "") {
		d.problem(n, path, "a log in full has a name and a path: write {name: NAME, path: /FILE}, or the name of a preset alone")
	}
}

func (d *decoder) logName(dst *string) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		if !logName.MatchString(s) {
			return errors.New("is no name: write 1 to 63 small letters, digits, dashes and underscores")
		}
		*dst = s
		return nil
	})
}

// logPath reads a path whose last part may be a glob.
func (d *decoder) logPath(dst *string) func(*yaml.Node, string) {
	read := d.path(dst)
	return func(n *yaml.Node, at string) {
		_, err := path.Match(n.Value, "")
		if n.Kind == yaml.ScalarNode && (err != nil || strings.ContainsAny(filepath.Dir(n.Value), "*?[")) {
			d.problem(n, at, "%s is no pattern that can be followed: write * in the last part of the path alone", shown(n))
			return
		}
		read(n, at)
	}
}
