package units

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/ringside/ringside/hoststate"
)

type sink struct {
	mu     sync.Mutex
	events []hoststate.Event
}

func (s *sink) Emit(e hoststate.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *sink) Blind(...string) {}

func (s *sink) all() []hoststate.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]hoststate.Event(nil), s.events...)
}

// expect waits for exactly these events: kind and subject.
func (s *sink) expect(t *testing.T, want ...string) []hoststate.Event {
	t.Helper()
	var got []hoststate.Event
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if got = s.all(); len(got) >= len(want) || time.Now().After(end) {
			break
		}
	}
	var have []string
	for _, e := range got {
		have = append(have, e.Kind+" "+e.Subject)
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Fatalf("got  %v\nwant %v", have, want)
	}
	return got
}

// run runs the watcher until stop is called, and returns when it has seen what is there.
func run(t *testing.T, w *Watcher, out *sink) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ready := make(chan struct{})
	w.synced = func() { close(ready) }
	go func() { done <- w.Run(ctx, out) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("Run: %v", err)
	}
	return stop
}

// What the real systemd does to real units, as exact events.
func TestSystemd(t *testing.T) {
	files := maps.Clone(sealedUnits)
	for name, text := range map[string]string{
		"systemd-networkd": sleeper(""),
		"containerd":       sleeper("Restart=always\nRestartSec=100ms\n"),
		"kubelet":          sleeper("KillSignal=SIGKILL\n"), // so that a stop is a failure
		"nftables":         "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
		"apt-daily":        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/sleep 0.1\n",
		"wicked":           "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/false\n",
		"ifup@":            sleeper(""),
		"other":            sleeper(""),
	} {
		files["units/"+name+".service"] = text
	}
	s := startSystemd(t, files)
	s.systemctl("start", "containerd", "kubelet", "nftables", "other")
	pid := func(name string) int {
		n, _ := strconv.Atoi(s.systemctl("show", "--property=MainPID", "--value", name))
		return n
	}

	out := &sink{}
	w := New(Config{Root: s.root})
	stop := run(t, w, out)
	var want []string
	expect := func(events ...string) hoststate.Event {
		t.Helper()
		want = append(want, events...)
		got := out.expect(t, want...)
		if len(got) == 0 {
			return hoststate.Event{}
		}
		return got[len(got)-1]
	}
	expect() // what was there before is no event

	began := time.Now()
	s.systemctl("start", "systemd-networkd")
	expect("unit.start systemd-networkd.service")

	old := pid("systemd-networkd")
	s.systemctl("restart", "systemd-networkd")
	e := expect("unit.restart systemd-networkd.service")
	var f facts
	if err := json.Unmarshal(e.Data, &f); err != nil || f.PIDBefore != uint32(old) || f.PID != uint32(pid("systemd-networkd")) {
		t.Errorf("data is %s, the process was %d", e.Data, old)
	}
	if e.Time.Before(began) || e.Time.After(time.Now()) || e.Before != fmt.Sprintf("active (running), pid %d", old) {
		t.Errorf("at %v: before %q", e.Time, e.Before)
	}

	for range 20 {
		s.systemctl("restart", "systemd-networkd")
		want = append(want, "unit.restart systemd-networkd.service")
	}
	expect()

	s.systemctl("stop", "systemd-networkd") // a package's scripts do it in two steps
	s.systemctl("start", "systemd-networkd")
	expect("unit.restart systemd-networkd.service")

	s.systemctl("reload", "systemd-networkd")
	expect("unit.reload systemd-networkd.service")

	s.systemctl("stop", "systemd-networkd")
	stopped := time.Now()
	if e := expect("unit.stop systemd-networkd.service"); e.Time.After(stopped) {
		t.Errorf("stopped before %v, dated %v", stopped, e.Time)
	}

	s.systemctl("restart", "nftables")
	expect("unit.restart nftables.service")
	s.systemctl("start", "apt-daily")
	expect("unit.start apt-daily.service", "unit.stop apt-daily.service")
	s.systemctl("start", "ifup@eth0")
	expect("unit.start ifup@eth0.service")
	s.systemctl("restart", "other") // not watched
	s.systemctl("start", "--no-block", "wicked")
	expect("unit.start wicked.service", "unit.fail wicked.service")

	s.kill(pid("containerd")) // systemd starts it again
	e = expect("unit.fail containerd.service", "unit.start containerd.service")
	if e := out.all()[len(want)-2]; !strings.Contains(e.Text, "signal") {
		t.Errorf("%s", e.Text)
	}
	s.kill(pid("kubelet"))
	expect("unit.fail kubelet.service")
	s.systemctl("start", "kubelet")
	expect("unit.start kubelet.service")

	stop() // what happens while nobody looks is told afterwards
	s.systemctl("restart", "containerd")
	s.systemctl("stop", "kubelet")
	run(t, w, out)
	got := out.expect(t, append(want, "unit.restart containerd.service", "unit.fail kubelet.service")...)
	for _, e := range got {
		t.Logf("%s %s: %s [%s → %s] %s", e.Time.Format("05.000000"), e.Kind, e.Text, e.Before, e.After, e.Data)
	}
}

// A burst beyond what may wait is made good by asking for the states.
func TestMissedSignals(t *testing.T) {
	files := maps.Clone(sealedUnits)
	for i := range 20 {
		files[fmt.Sprintf("units/k3s-%d.service", i)] = sleeper("")
	}
	s := startSystemd(t, files)
	out := &sink{}
	w := New(Config{Root: s.root})
	w.deaf = true // every signal counts as one too many
	run(t, w, out)
	for i := range 20 {
		s.systemctl("start", fmt.Sprintf("k3s-%d", i))
	}
	for end := time.Now().Add(30 * time.Second); len(out.all()) < 20; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d events of 20", len(out.all()))
		}
	}
	seen := map[string]int{}
	for _, e := range out.all() {
		seen[e.Kind+" "+e.Subject]++
	}
	for i := range 20 {
		if n := seen[fmt.Sprintf("unit.start k3s-%d.service", i)]; n != 1 {
			t.Errorf("unit %d was started once, and that was told %d times", i, n)
		}
	}
}

func TestNoBus(t *testing.T) {
	err := New(Config{Root: t.TempDir()}).Run(t.Context(), &sink{})
	if u, ok := err.(*hoststate.Unavailable); !ok || !strings.Contains(u.Cure, "/run/dbus") {
		t.Errorf("got %v", err)
	}
}

func TestBusEnds(t *testing.T) {
	s := startSystemd(t, maps.Clone(sealedUnits))
	done := make(chan error, 1)
	w := New(Config{Root: s.root})
	ready := make(chan struct{})
	w.synced = func() { close(ready) }
	go func() { done <- w.Run(t.Context(), &sink{}) }()
	<-ready
	s.systemctl("stop", "dbus.socket", "dbus.service")
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "dbus.service") {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("Run goes on without a bus")
	}
}

func FuzzUnitName(f *testing.F) {
	f.Add("systemd-networkd.service")
	f.Add("7.mount")
	f.Add("ifup@eth0.100.service\x00ä")
	f.Fuzz(func(t *testing.T, name string) {
		if got, ok := unitName(unitPath(name)); !ok || got != name {
			t.Errorf("%q became %q", name, got)
		}
		unitName(unitPaths + dbus.ObjectPath(name)) // what others send
	})
}
