package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

func TestIncidentsLs(t *testing.T) {
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(10))
	s.add(t, placeAt(0, "n2"), captureOf(10), lossy)
	s.add(t, placeAt(time.Hour, "n1"), captureOf(10), empty)
	s.add(t, placeAt(2*time.Hour, "n1"), captureOf(10), described)
	code, out, errOut := s.run("ls", "--server", "none")
	if code != 0 || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	golden(t, "incidents-ls", out)

	s.put(t, placeAt(3*time.Hour, "n1").Prefix()+"capture-A.pcapng", nil)
	s.put(t, placeAt(4*time.Hour, "n1").Prefix()+upload.ManifestName, []byte(`{"version":1,"incident":"\u001b[2J"}`))
	s.put(t, "notes\u202e/x", nil)
	s.add(t, upload.Place{Cluster: "test", Incident: idAt(0), Node: "n1"}, captureOf(1))
	code, out, errOut = s.run("ls", "--server", "none")
	if code != exitFailed || !strings.Contains(errOut, `left alone, for it belongs to no bundle: notes\u202e/`) {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	golden(t, "incidents-ls-damaged", out)

	tests := []struct {
		name string
		args []string
		want []string // incident and node
		says string   // on standard error
	}{
		{"from", []string{"--from", "2026-11-22T20:00:00Z", "--to", "2026-11-22T21:00:00Z"}, []string{idAt(time.Hour) + " n1"}, ""},
		{"node", []string{"--node", "n2"}, []string{idAt(0) + " n2"}, ""},
		{"reason", []string{"--reason", "oom", "--to", "2026-11-22T21:30:00Z"}, []string{idAt(2*time.Hour) + " n1"}, ""},
		{"cluster", []string{"--cluster", "test"}, []string{idAt(0) + " n1"}, ""},
		{"limit", []string{"--limit", "1", "--to", "2026-11-22T21:30:00Z"}, []string{idAt(2*time.Hour) + " n1"}, "there are more than 1"},
		{"limit that is enough", []string{"--limit", "1", "--node", "n2"}, []string{idAt(0) + " n2"}, ""},
		{"none", []string{"--from", "now"}, []string{}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, out, errOut := s.run(append([]string{"ls", "--server", "none", "--json"}, test.args...)...)
			var rows []incidentRow
			if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 {
				t.Fatalf("exit code %d, %v: %s", code, err, out)
			}
			got := []string{}
			for _, r := range rows {
				got = append(got, r.Incident+" "+r.Node)
			}
			if !slices.Equal(got, test.want) || !strings.Contains(errOut, test.says) || test.says == "" && strings.Contains(errOut, "more than") {
				t.Errorf("%v, %q; want %v", got, errOut, test.want)
			}
		})
	}
	t.Setenv(storeVariable, "file://"+s.dir)
	if code, out, _ := runCommand("incidents", "ls", "--server", "none", "--node", "n2"); code != 0 || !strings.Contains(out, idAt(0)) {
		t.Errorf("the store of the environment: exit code %d, %s", code, out)
	}
}

const askPending = "GET /v1/incidents?local&limit=1000"

// What waits on this node is listed even if the store is away, and why.
func TestIncidentsPending(t *testing.T) {
	d := newFakeDaemon(t)
	now := time.Now()
	incident := func(state trigger.State, change func(*trigger.Incident)) api.Incident {
		i := &trigger.Incident{ID: idAt(time.Duration(len(state)) * time.Minute), State: state, From: recorded, To: now.Add(90 * time.Minute), Pinned: 5 << 20,
			Triggers: []trigger.Trigger{{ID: idAt(0), Reason: "slow"}}}
		change(i)
		return api.Incident{ID: i.ID, State: i.State, Local: i}
	}
	d.always(askPending, http.StatusOK, api.Incidents{Incidents: []api.Incident{
		incident(trigger.StateOpen, func(*trigger.Incident) {}),
		incident(trigger.StateReady, func(i *trigger.Incident) {
			i.Attempts, i.Error, i.Retry = 3, "connection refused\x1b", now.Add(time.Hour)
		}),
		incident(trigger.StateStored, func(*trigger.Incident) {}),
	}})
	away := filepath.Join(t.TempDir(), "away")
	code, out, errOut := runCommand("incidents", "ls", "--store", away, "--server", "unix://"+d.socket)
	if code != exitFailed || !strings.Contains(errOut, "there is no directory") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "PENDING HERE") ||
		!strings.Contains(lines[1], "open") || !strings.Contains(lines[1], "its window ends in 1h") ||
		!strings.Contains(lines[2], `attempt 3 failed: connection refused\x1b; next try in `) || !strings.Contains(lines[2], "5.0 MiB") {
		t.Errorf("it prints\n%s", out)
	}
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(1))
	code, out, _ = s.run("ls", "--server", "unix://"+d.socket, "--json")
	var rows []incidentRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 || len(rows) != 3 {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	var states []string
	for _, r := range rows {
		states = append(states, r.State)
	}
	if !slices.Equal(states, []string{"open", "ready", "stored"}) || rows[1].Attempts != 3 {
		t.Errorf("states %v, %+v", states, rows[1])
	}
	if _, out, _ = s.run("ls", "--server", "unix://"+d.socket, "--json", "--reason", "other"); strings.TrimSpace(out) != "[]" {
		t.Errorf("of another reason: %s", out)
	}
	// A store that nobody has written to yet is no error on the node whose it is; one that was named is.
	config := filepath.Join(t.TempDir(), "ringside.yaml")
	if err := os.WriteFile(config, []byte("socket: "+d.socket+"\nupload: {to: \"file://"+away+"\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut = runCommand("incidents", "ls", "-c", config)
	if code != 0 || !strings.Contains(out, "PENDING HERE") || !strings.Contains(errOut, "nothing was stored there yet") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	// A daemon that does not answer as one is said, and the store is listed.
	d.always(askPending, http.StatusForbidden, map[string]any{"detail": "no"})
	code, out, errOut = s.run("ls", "--server", "unix://"+d.socket)
	if code != 0 || !strings.Contains(errOut, "what is pending on this node is not listed") || !strings.Contains(out, idAt(0)) {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	// That there is no daemon is no error, unless it was named.
	if code, _, errOut = s.run("ls", "--server", "unix:///nowhere/sock"); code != 0 || !strings.Contains(errOut, "no recorder answers") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if err := os.WriteFile(config, []byte("socket: /nowhere/sock\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut = s.run("ls", "-c", config); code != 0 || errOut != "" {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestIncidentsSuppressed(t *testing.T) {
	d := newFakeDaemon(t)
	const ask = "GET /v1/incidents?local&suppressed&limit=1"
	at := recorded
	d.always(ask, http.StatusOK, api.Incidents{Suppressed: []trigger.Suppressed{
		{Minute: at, Source: "http", Reason: "slow", Kind: trigger.RefusedCooldown, First: at.Add(time.Second), Last: at.Add(59 * time.Second), Count: 12},
		{Minute: at, Source: "http", Kind: trigger.RefusedRate, First: at, Last: at, Count: 1},
	}})
	code, out, _ := runCommand("incidents", "ls", "--suppressed", "--server", "unix://"+d.socket)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	golden(t, "incidents-suppressed", out)
	_, out, _ = runCommand("incidents", "ls", "--suppressed", "--json", "--server", "unix://"+d.socket)
	var list []trigger.Suppressed
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 2 || list[0].Count != 12 {
		t.Errorf("%v: %s", err, out)
	}
	d.always(ask, http.StatusOK, api.Incidents{})
	if _, out, _ = runCommand("incidents", "ls", "--suppressed", "--server", "unix://"+d.socket); out != "no trigger was refused\n" {
		t.Errorf("it prints %q", out)
	}
	if code, _, errOut := runCommand("incidents", "ls", "--suppressed", "--server", "unix:///nowhere/sock"); code != exitFailed || !strings.Contains(errOut, "the daemon alone knows") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestIncidentsShow(t *testing.T) {
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(10), lossy, described)
	s.add(t, placeAt(0, "n2"), captureOf(10))
	code, out, errOut := s.run("show", idAt(30*time.Second))
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	code, all, errOut := s.run("show", idAt(0))
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	golden(t, "incidents-show", strings.ReplaceAll(out+"\n"+all, s.dir, "/STORE"))
	code, out, _ = s.run("show", idAt(0), "--json", "--node", "n1")
	var v incidentShown
	var m upload.Manifest
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || len(v.Bundles) != 1 {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	if err := json.Unmarshal(v.Bundles[0].Manifest, &m); err != nil || m.Node != "n1" || v.Bundles[0].Key != placeAt(0, "n1").Prefix()+"manifest.json" {
		t.Errorf("%v: %s", err, out)
	}
	s.add(t, placeAt(time.Hour, "n1"), nil, empty)
	if code, _, errOut = s.run("show", idAt(time.Hour)); code != exitUnknown || !strings.Contains(errOut, "nothing was recorded") {
		t.Errorf("nothing recorded: exit code %d, %s", code, errOut)
	}
	s.put(t, placeAt(2*time.Hour, "n1").Prefix()+upload.ManifestName, []byte("{"))
	if code, out, errOut = s.run("show", idAt(2*time.Hour)); code != exitFailed || !strings.Contains(out+errOut, "no JSON of a manifest") {
		t.Errorf("damaged: exit code %d, %s%s", code, out, errOut)
	}
}

func TestIncidentsUsage(t *testing.T) {
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(1))
	s.add(t, placeAt(0, "n2"), captureOf(1))
	s.add(t, upload.Place{Cluster: "test", Incident: idAt(0), Node: "n3"}, captureOf(1))
	s.add(t, placeAt(time.Hour, "n1"), captureOf(1), func(m *upload.Manifest) {
		m.Triggers = append(m.Triggers, trigger.Trigger{ID: idAt(90 * time.Minute), At: recorded})
	})
	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"ls", "--from", "yesterday"}, exitUsage, "--from"},
		{[]string{"ls", "--to", "1"}, exitUsage, "--to"},
		{[]string{"ls", "--limit", "0"}, exitUsage, "--limit 0"},
		{[]string{"ls", "--nope"}, exitUsage, "nope"},
		{[]string{"ls", "--server", "ftp://x"}, 0, "--server"},
		{[]string{"ls", "--suppressed", "--server", "none"}, exitUsage, "asks the daemon"},
		{[]string{"show"}, exitUsage, "accepts 1 arg"},
		{[]string{"show", "../../etc"}, exitUsage, "is no id"},
		{[]string{"show", idAt(-time.Hour)}, exitFailed, "incidents ls lists"},
		{[]string{"show", idAt(0), "--node", "n9"}, exitUsage, "n1 (cluster prod), n2 (cluster prod), n3 (cluster test) alone"},
		{[]string{"get", idAt(0), "--format", "erf"}, exitUsage, "--format"},
		{[]string{"get", idAt(0), "--annotated", "--format", "pcap"}, exitUsage, "no comments"},
		{[]string{"get", idAt(0), "--raw", "--merge"}, exitUsage, "--raw"},
		{[]string{"get", idAt(0), "--raw", "-o", "-"}, exitUsage, "--raw"},
		{[]string{"get", idAt(0), "--json", "-o", "-"}, exitUsage, "--json"},
		{[]string{"get", idAt(0), "-o", "-"}, exitUsage, "n1 (cluster prod), n2 (cluster prod), n3 (cluster test)"},
		{[]string{"rm", idAt(0)}, exitUsage, "--yes"},
		{[]string{"rm", idAt(90 * time.Minute), "--yes"}, exitUsage, "merged into incident " + idAt(time.Hour)},
		{[]string{"sweep", "--older", "-1s"}, exitUsage, "--older"},
		{[]string{"ls", "--store", "ftp://x/y"}, exitUsage, "s3://BUCKET/PREFIX"},
		{[]string{"ls", "--config", "/nowhere.yaml"}, exitUsage, "no such file"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.args), func(t *testing.T) {
			code, _, errOut := s.run(test.args...)
			if code != test.code || !strings.Contains(errOut, test.want) {
				t.Errorf("exit code %d, %q; want %d and %q", code, errOut, test.code, test.want)
			}
		})
	}
}
