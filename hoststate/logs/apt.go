package logs

import (
	"fmt"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// apt reads apt's history (/var/log/apt/history.log): a stanza for each run, whose head is written before dpkg starts and
// whose end when it is done:
//
//	Start-Date: 2026-11-22  23:33:48
//	Commandline: apt-get install -y nftables
//	Requested-By: admin (1000)
//	Install: libnftnl11:amd64 (1.2.4-2, automatic), nftables:amd64 (1.0.6-2+deb12u2)
//	Upgrade: libssl3:amd64 (3.0.19-1~deb12u2, 3.0.22-1~deb12u2)
//	Error: Sub-process /usr/bin/dpkg returned an error code (1)
//	End-Date: 2026-11-22  23:34:01
//
// One event says that a run has begun, and another what it has done. A run by a program that names no command line has
// the second only.
type apt struct {
	zone  *zone
	run   facts // nil outside a stanza
	start time.Time
	lines int
}

const maxStanza = 64 // lines; there are a dozen kinds

func (a *apt) open() bool { return a.run != nil }

func (a *apt) parse(line string, written time.Time) (e hoststate.Event, f facts, ok bool) {
	field, value, found := strings.Cut(line, ": ")
	if !found {
		return e, nil, false
	}
	if a.lines++; a.lines > maxStanza {
		a.run = nil
	}
	value = strings.TrimSpace(value)
	switch field {
	case "Start-Date":
		a.start, _, _ = a.zone.stamp(value, written, "2006-01-02  15:04:05")
		a.run, a.lines = facts{"start": value}, 0
		return e, nil, false
	case "End-Date":
		if a.run == nil {
			return e, nil, false
		}
		f, a.run = a.run, nil
		end, _, _ := a.zone.stamp(value, written, "2006-01-02  15:04:05")
		f["end"] = value
		return hoststate.Event{Kind: "log", Subject: "apt", Time: end, Text: "apt is done: " + aptText(f)}, f, true
	}
	if a.run == nil {
		return e, nil, false
	}
	switch field {
	case "Install", "Reinstall", "Upgrade", "Downgrade", "Remove", "Purge", "Disappeared":
		a.run[strings.ToLower(field)] = aptPackages(value)
	case "Commandline":
		a.run["commandline"] = value
		f = facts{"start": a.run["start"], "commandline": value}
		return hoststate.Event{Kind: "log", Subject: "apt", Time: a.start, Text: "apt begins: " + value}, f, true
	case "Requested-By", "Error", "Comment":
		a.run[strings.ToLower(strings.ReplaceAll(field, "-", "_"))] = value
	}
	return e, nil, false
}

// aptPackage is a package of a stanza, as its line has it: "libssl3:amd64 (before, after)".
type aptPackage struct {
	Name    string   `json:"name"`
	Version []string `json:"version"` // before and after of an upgrade, else the only one; "automatic" may follow
}

func aptPackages(value string) (all []aptPackage) {
	for _, item := range strings.Split(value, "), ") {
		name, versions, _ := strings.Cut(strings.TrimSuffix(item, ")"), " (")
		all = append(all, aptPackage{name, strings.Split(versions, ", ")})
	}
	return all
}

// aptText sums a run up: "upgraded 3 packages (a, b, c); apt-get upgrade".
func aptText(f facts) string {
	var parts []string
	for _, action := range []string{"install", "reinstall", "upgrade", "downgrade", "remove", "purge", "disappeared"} {
		packages, ok := f[action].([]aptPackage)
		if !ok {
			continue
		}
		var names []string
		for _, p := range packages[:min(len(packages), 8)] {
			names = append(names, strings.SplitN(p.Name, ":", 2)[0])
		}
		if len(packages) > len(names) {
			names = append(names, "...")
		}
		parts = append(parts, fmt.Sprintf("%s %d: %s", action, len(packages), strings.Join(names, ", ")))
	}
	for _, name := range []string{"error", "commandline", "requested_by"} {
		if s, ok := f[name].(string); ok {
			parts = append(parts, strings.ReplaceAll(name, "_", " ")+": "+s)
		}
	}
	return strings.Join(parts, "; ")
}
