package proofs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// TestHostStory removes an address, reports an observation and drops a line into a log, between packets that are recorded:
// a rule makes an incident of the first, its bundle has all three in the order in which they happened, the annotated copy has
// them between the right packets, and the plain capture has packets only.
func TestHostStory(t *testing.T) {
	need(t, "ip", "tshark", "tcpdump", "capinfos")
	t.Parallel()
	const packets = 50 // between one event and the next
	s := newSite(t, "v0")
	dir := ringside.Dir(t)
	if err := s.node.Address("v0", "10.9.0.1/24"); err != nil {
		t.Fatal(err)
	}
	host := filepath.Join(dir, "host")
	app := filepath.Join(host, "var/log/app.log")
	write(t, app, "before the recorder\n")
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Dir: dir, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]",
		More: fmt.Sprintf("upload: {to: file://%s/store}\nhoststate: {root: %s, logs: [{name: app, path: /var/log/app.log, match: 'time-?out'}]}\n"+
			"trigger: {%s, rules: [{on: address.remove v0, reason: lost an address, pre: 30s, post: 1s}]}", dir, host, generous),
	})
	watching(t, r, "network", "logs")
	f := s.in(t, 1, "v0", "v0")
	step := func() { send(t, f.Sender, packets, 0); time.Sleep(20 * time.Millisecond) }
	step()
	if status, answer, err := r.Post("/v1/observations", `{"service": "orders-db", "what": "time-out of 5 s", "peer": "orders-db:5432", "trace": "4bf9"}`); err != nil || status != http.StatusAccepted {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	on(t, r, dir, hoststate.Query{Kinds: []string{"observation"}})
	step()
	write(t, app, "all is well\nERROR timeout talking to orders-db, password=hunter2\n")
	on(t, r, dir, hoststate.Query{Kinds: []string{"log"}})
	step()
	if out, err := s.node.Run("ip", "address", "delete", "10.9.0.1/24", "dev", "v0"); err != nil {
		t.Fatal(err, out)
	}
	on(t, r, dir, hoststate.Query{Kinds: []string{"address.remove"}})
	step()
	var i trigger.Incident
	if err := r.Until(patience, "an incident", func() bool {
		_, body, err := r.Get("/v1/incidents")
		var answer struct{ Incidents []struct{ trigger.Incident } }
		if err != nil || json.Unmarshal([]byte(body), &answer) != nil || len(answer.Incidents) == 0 {
			return false
		}
		i = answer.Incidents[0].Incident
		return true
	}); err != nil {
		t.Fatal(err)
	}
	delivered(t, r, patience)

	store, err := upload.OpenStore(t.Context(), upload.Config{To: "file://" + dir + "/store"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	bundles, err := upload.NewArchive(store).Find(t.Context(), i.ID)
	if err != nil || len(bundles) != 1 || bundles[0].Problem != nil {
		t.Fatalf("%+v, %v", bundles, err)
	}
	m := bundles[0].Manifest
	if len(m.Triggers) != 1 || m.Triggers[0].Source != "rule" || m.Triggers[0].Reason != "lost an address" {
		t.Errorf("triggers %+v of %s", m.Triggers, i.ID)
	}
	out := t.TempDir()
	get := func(args ...string) {
		t.Helper()
		args = append([]string{"incidents", "--store", "file://" + dir + "/store", "get", m.Incident}, args...)
		if b, err := exec.Command(ringside.Binary(t, ""), args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, b)
		}
	}
	get("-o", out+"/")
	annotated := filepath.Join(out, "annotated.pcapng")
	get("--annotated", "-o", annotated)
	plain := filepath.Join(out, m.Incident, m.Node, upload.CaptureName)
	for file, frames := range map[string]int{plain: 4 * packets, annotated: 4 * packets} {
		dumped, err1 := readback.Tcpdump(file)
		counted, err2 := readback.Capinfos(file)
		if err1 != nil || err2 != nil || dumped != frames || counted != frames {
			t.Errorf("%s: tcpdump reads %d packets, capinfos %d, want %d: %v %v", file, dumped, counted, frames, err1, err2)
		}
	}
	want := []string{"observation orders-db", "log app", "address.remove v0"}
	if got := frames(t, plain, nil); !slices.Equal(got, []string{fmt.Sprint(4 * packets)}) {
		t.Errorf("tshark shows in the plain file %q", got)
	}
	if got := frames(t, annotated, want); !slices.Equal(got, []string{"50", want[0], "50", want[1], "50", want[2], "50"}) {
		t.Errorf("tshark shows in the annotated file %q", got)
	}
	text, err := os.ReadFile(filepath.Join(out, m.Incident, m.Node, upload.TimelineName))
	if err != nil || bytes.Contains(text, []byte("hunter2")) || bytes.Contains(text, []byte("all is well")) {
		t.Errorf("the timeline has what it must not: %v", err)
	}
	if m.Timeline == nil || len(m.Recorder.Watchers) < 9 {
		t.Errorf("the manifest has the timeline %+v and %d watchers", m.Timeline, len(m.Recorder.Watchers))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// watching waits until the watchers run.
func watching(t *testing.T, r *ringside.Recorder, names ...string) {
	t.Helper()
	err := r.Until(patience, fmt.Sprint("watching ", names), func() bool {
		m, err := r.Metrics()
		if err != nil {
			return false
		}
		for _, name := range names {
			if m[fmt.Sprintf("ringside_watcher_running_total{watcher=%q}", name)] != 1 {
				return false
			}
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}

// on waits until the timeline has an event.
func on(t *testing.T, r *ringside.Recorder, dir string, q hoststate.Query) {
	t.Helper()
	err := r.Until(patience, fmt.Sprintf("with %+v on its timeline", q), func() bool {
		found := false
		err := hoststate.OpenReader(filepath.Join(dir, "spool", "timeline")).Read(t.Context(), q, func(hoststate.Event) error { found = true; return nil })
		return err == nil && found
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // packets that follow bear a later time
}

// frames is what tshark shows of a file: how many packets there are between the events of which the given are the beginnings.
func frames(t *testing.T, file string, events []string) (list []string) {
	t.Helper()
	shown, err := exec.Command("tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.protocols", "-e", "_ws.col.Info").Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(shown)) {
		protocols, info, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if strings.HasPrefix(protocols, "eth") {
			n++
			continue
		}
		for _, e := range events {
			if strings.HasPrefix(info, e+":") {
				list, n = append(list, fmt.Sprint(n), e), 0
			}
		}
	}
	return append(list, fmt.Sprint(n))
}
