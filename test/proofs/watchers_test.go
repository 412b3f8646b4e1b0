package proofs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/upload"
)

// TestWatchersWithoutRights runs a recorder with CAP_NET_RAW alone, without D-Bus, journal or logs: each watcher that
// cannot run is off with a reason and its cure, in /readyz?verbose, once in the log, on the timeline and in the manifest; the
// others run, and so does recording.
func TestWatchersWithoutRights(t *testing.T) {
	need(t, "setpriv", "tshark", "tcpdump", "capinfos")
	t.Parallel()
	const packets = 500
	s := newSite(t, "v0")
	dir := ringside.Dir(t)
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Dir: dir, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]",
		Prefix: []string{"setpriv", "--bounding-set=-all,+net_raw,+dac_override", "--inh-caps=-all"},
		More:   fmt.Sprintf("upload: {to: file://%s/store}\ntrigger: {%s}", dir, generous),
	})
	cures := map[string]string{
		"conntrack": "CAP_NET_ADMIN", "ruleset": "CAP_NET_ADMIN", "units": "mount the host's /run/dbus", "journal": "journal", "kernel": "/dev/kmsg",
	}
	watching(t, r, "counters", "network", "sysctls", "state", "logs")
	f := s.in(t, 1, "v0", "v0")
	send(t, f.Sender, packets, 0)
	settled(t, r, packets)
	p := &promised{}
	if status, err := p.fire(r, "without rights", "1m", "0s"); err != nil || status != http.StatusAccepted {
		t.Fatal(status, err)
	}
	delivered(t, r, patience)

	status, body, err := r.Get("/readyz?verbose&format=json")
	var ready struct{ Watchers []hoststate.WatcherStatus }
	if err != nil || status != http.StatusOK || json.Unmarshal([]byte(body), &ready) != nil {
		t.Fatalf("%d %s %v", status, body, err)
	}
	store, err := upload.OpenStore(t.Context(), upload.Config{To: "file://" + dir + "/store"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	bundle := kept(t, store, p)[p.ids[0]]
	if got := bundle.Manifest.Window.Coverage.Packets; got != packets {
		t.Errorf("the bundle has %d packets of %d", got, packets)
	}
	said := map[string]int{}
	q := hoststate.Query{Kinds: []string{"watcher.off"}}
	if err := hoststate.OpenReader(filepath.Join(dir, "spool", "timeline")).Read(t.Context(), q, func(e hoststate.Event) error {
		said[e.Subject]++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for where, list := range map[string][]hoststate.WatcherStatus{"/readyz?verbose": ready.Watchers, "the manifest": bundle.Manifest.Recorder.Watchers} {
		if len(list) != 10 {
			t.Errorf("%s has %d watchers, want 10: %+v", where, len(list), list)
		}
		for _, w := range list {
			cure, off := cures[w.Name]
			switch {
			case off && (w.State != hoststate.StateOff || !strings.Contains(w.Why, cure)):
				t.Errorf("%s: %+v, want it off, with the cure %q", where, w, cure)
			case !off && w.State != hoststate.StateOn:
				t.Errorf("%s: %+v, want it running", where, w)
			}
		}
	}
	for name := range cures {
		lines := 0
		for line := range strings.Lines(r.Log()) {
			if strings.Contains(line, "a watcher is off") && strings.Contains(line, fmt.Sprintf(`"watcher":%q`, name)) {
				lines++
			}
		}
		if lines != 1 || said[name] != 1 {
			t.Errorf("%s: %d lines in the log and %d events that it is off, want one each", name, lines, said[name])
		}
	}
}
