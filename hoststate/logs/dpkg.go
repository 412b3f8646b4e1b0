package logs

import (
	"fmt"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// dpkg reads dpkg's log (dpkg(1), --log):
//
//	2026-11-22 23:33:50 startup archives unpack
//	2026-11-22 23:33:50 upgrade libssl3:amd64 3.0.19-1~deb12u2 3.0.22-1~deb12u2
//	2026-11-22 23:33:50 status half-installed libssl3:amd64 3.0.19-1~deb12u2
//	2026-11-22 23:33:51 configure libssl3:amd64 3.0.22-1~deb12u2 <none>
//	2026-11-22 23:33:52 conffile /etc/x keep
type dpkg struct {
	lineByLine
	zone *zone
}

func (d dpkg) parse(line string, written time.Time) (e hoststate.Event, f facts, ok bool) {
	t, rest, ok := d.zone.stamp(line, written, "2006-01-02 15:04:05")
	words := strings.Fields(rest)
	if !ok || len(words) < 3 {
		return e, nil, false
	}
	e = hoststate.Event{Kind: "package", Time: t}
	action, name, versions := words[0], words[1], words[2:]
	switch action {
	case "install", "upgrade", "remove", "purge", "disappear", "configure", "trigproc":
		e.Before = version(versions[0])
		if len(versions) > 1 {
			e.After = version(versions[1])
		}
		if action == "configure" || action == "trigproc" { // the first is the one that is worked on
			e.Before, e.After = "", e.Before
		}
	case "status":
		if len(words) < 4 {
			return e, nil, false
		}
		status := words[1]
		if status != "installed" && status != "not-installed" && status != "config-files" {
			return e, nil, false // on its way
		}
		name, e.After = words[2], status
		f = facts{"action": "status", "status": status, "version": version(words[3])}
	default:
		return e, nil, false
	}
	if f == nil {
		f = facts{"action": action, "before": e.Before, "after": e.After}
	}
	e.Subject, f["package"] = name, name
	if base, arch, found := strings.Cut(name, ":"); found {
		e.Subject, f["package"], f["arch"] = base, base, arch
	}
	e.Text = dpkgText(action, &e)
	return e, f, true
}

// version is one of dpkg's, "" for none.
func version(s string) string {
	if s == "<none>" {
		return ""
	}
	return s
}

func dpkgText(action string, e *hoststate.Event) string {
	switch action {
	case "status":
		return fmt.Sprintf("dpkg: %s is %s", e.Subject, e.After)
	case "install":
		return fmt.Sprintf("dpkg installs %s %s", e.Subject, e.After)
	case "configure":
		return fmt.Sprintf("dpkg configures %s %s", e.Subject, e.After)
	case "trigproc":
		return fmt.Sprintf("dpkg processes the triggers of %s %s", e.Subject, e.After)
	case "upgrade":
		return fmt.Sprintf("dpkg upgrades %s from %s to %s", e.Subject, e.Before, e.After)
	}
	verb := map[string]string{"remove": "removes", "purge": "purges", "disappear": "replaces all files of"}[action]
	return fmt.Sprintf("dpkg %s %s %s", verb, e.Subject, e.Before)
}
