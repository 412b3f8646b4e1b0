package units

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/hoststate/logs/journal"
)

// The real journald's journal, through the real journalctl, as the watched units and systemd itself fill it.
func TestJournal(t *testing.T) {
	for _, need := range []string{"journalctl", "/lib/systemd/systemd-journald"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("%s is not installed: install systemd", need)
		}
	}
	files := maps.Clone(sealedUnits)
	files["units/default.target"] = "[Unit]\nDefaultDependencies=no\nRequires=ready.service systemd-journald.service\n"
	files["units/systemd-journald.socket"] = "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/systemd/journal/stdout\nListenDatagram=/run/systemd/journal/socket\n"
	files["units/systemd-journald.service"] = "[Unit]\nDefaultDependencies=no\nRequires=systemd-journald.socket\nBefore=ready.service\n[Service]\nType=notify\nSockets=systemd-journald.socket\nExecStart=/lib/systemd/systemd-journald\n"
	for _, name := range []string{"kubelet", "other"} {
		files["units/"+name+".service"] = "[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nStandardOutput=journal\nSyslogIdentifier=" + name +
			"\nExecStart=/bin/sh -c 'for i in 1 2 3; do echo line $i of $INVOCATION_ID; done'\n"
	}
	s := startSystemd(t, files)
	s.systemctl("log-target", "journal") // what it says about units as well
	s.systemctl("start", "other")

	out := &sink{}
	state := t.TempDir()
	follow := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		w := journal.New(journal.Config{Root: s.root, State: state, Units: []string{"kubelet.service"}})
		go func() { done <- w.Run(ctx, out) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	written := func() (texts []string) {
		for _, e := range out.all() {
			if strings.HasPrefix(e.Text, "kubelet: line") {
				texts = append(texts, e.Raw)
			}
		}
		return texts
	}
	stop := follow()
	for round := range 6 { // every other while nobody follows
		if round%2 == 1 {
			stop()
			s.systemctl("start", "kubelet", "other")
			stop = follow()
		} else {
			s.systemctl("start", "kubelet", "other")
		}
		for end := time.Now().Add(30 * time.Second); len(written()) < 3*(round+1); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d lines in round %d: %v", len(written()), round, out.all())
			}
		}
	}
	stop()
	lines := written()
	if len(lines) != 18 {
		t.Errorf("%d lines of 18", len(lines))
	}
	seen := map[string]bool{}
	for i, line := range lines {
		if want := fmt.Sprintf("line %d of ", i%3+1); !strings.HasPrefix(line, want) || seen[line] {
			t.Errorf("line %d is %q", i, line)
		}
		seen[line] = true
	}
	about := 0
	for _, e := range out.all() {
		if e.Kind != "journal" || e.Subject != "kubelet.service" || time.Since(e.Time) > time.Minute {
			t.Errorf("%+v", e)
		}
		if strings.HasPrefix(e.Text, "systemd: ") {
			about++
		}
	}
	if about == 0 {
		t.Error("nothing of what systemd says about the unit")
	}
}

var _ hoststate.Watcher = (*journal.Watcher)(nil)
