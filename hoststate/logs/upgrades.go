package logs

import (
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// upgrades reads the log of unattended-upgrades, in the form of Python's logging:
//
//	2026-11-22 06:25:01,123 INFO Packages that will be upgraded: libssl3 openssl
//
// Every line above DEBUG is an event; lines without a time belong to the one before (a traceback) and are left out.
type upgrades struct {
	lineByLine
	zone *zone
}

func (u *upgrades) parse(line string, written time.Time) (e hoststate.Event, f facts, ok bool) {
	t, rest, ok := u.zone.stamp(line, written, "2006-01-02 15:04:05")
	if !ok {
		return e, nil, false
	}
	level, text, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if text = strings.TrimSpace(text); text == "" || level == "DEBUG" {
		return e, nil, false
	}
	f = facts{"level": level}
	if _, list, found := strings.Cut(text, "Packages that will be upgraded: "); found {
		f["packages"] = strings.Fields(list)
	}
	return hoststate.Event{Kind: "log", Subject: "unattended-upgrades", Time: t, Text: "unattended-upgrades: " + text}, f, true
}

// terminal reads what dpkg's hooks print while apt or unattended-upgrades run, for the lines of needrestart: which services
// it restarts, one command for many units.
//
//	Log started: 2026-11-22  06:25:10
//	Restarting services...
//	 systemctl restart systemd-networkd.service ssh.service
//	Service restarts being deferred:
//	 /etc/needrestart/restart.d/dbus.service
//	 systemctl restart systemd-logind.service
//	No containers need to be restarted.
//	Log ended: 2026-11-22  06:25:40
//
// Its lines have no time. Read as they come they are dated by that.
type terminal struct {
	lineByLine
	zone     *zone
	deferred bool
}

func (n *terminal) parse(line string, written time.Time) (e hoststate.Event, f facts, ok bool) {
	line = strings.TrimRight(line, "\r")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 { // a progress display draws over itself
		line = line[i+1:]
	}
	text := strings.TrimSpace(line)
	e = hoststate.Event{Kind: "log", Subject: "needrestart"}
	switch {
	case strings.HasPrefix(text, "Restarting services"):
		n.deferred = false
		e.Text = "needrestart restarts services"
		return e, nil, true
	case strings.HasPrefix(text, "Service restarts being deferred"):
		n.deferred = true
		return e, nil, false
	case text == "" || !strings.HasPrefix(line, " "):
		n.deferred = n.deferred && text != ""
		return e, nil, false
	}
	command, units, found := strings.Cut(text, " restart ")
	if !found || command != "systemctl" && !strings.HasSuffix(command, "/systemctl") {
		return e, nil, false
	}
	f = facts{"units": strings.Fields(units)}
	e.Text = "needrestart restarts " + units
	if n.deferred {
		f["deferred"] = true
		e.Text = "needrestart puts off the restart of " + units
	}
	return e, f, true
}
