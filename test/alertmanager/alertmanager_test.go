package alertmanager

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/test/netlab"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/trigger"
)

func TestMain(m *testing.M) { ringside.Main(m) }

// patience is for how long anything is waited for.
const patience = 2 * time.Minute

const prometheusConfig = `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:9093']}]}]}
scrape_configs: [{job_name: ringside, static_configs: [{targets: ['127.0.0.1:9409'], labels: {node: n1}}]}]
`

const alertmanagerConfig = `
route: {receiver: ringside, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1s}
receivers:
  - name: ringside
    webhook_configs: [{url: 'http://127.0.0.1:9409/v1/alertmanager', send_resolved: true}]
`

// rules fires once the recorder has been scraped, goes on while that is down, and ends when it has been sent an observation.
// (To reload the rules would end it too, but Prometheus then loses what it has to say for some seconds.)
const rules = `groups: [{name: g, rules: [{alert: Seen, labels: {severity: page}, annotations: {summary: '{{ $labels.node }}'}, expr: '
  count_over_time(up{job="ringside"}[1h]) > 0 unless on() max_over_time(ringside_api_requests_total{route="/v1/observations"}[1h]) > 0'}]}]
`

// world is a node with a recorder, Prometheus and Alertmanager.
type world struct {
	*testing.T
	node     *netlab.Namespace
	dir      string
	recorder *ringside.Recorder
}

// TestAlert has an alert of Prometheus freeze one incident, at the moment at which it began to fire, however often it is
// repeated and although the recorder is killed meanwhile, and has its end noted.
func TestAlert(t *testing.T) {
	for _, tool := range []string{"prometheus", "prometheus-alertmanager", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: run .ci/tools", tool)
		}
	}
	w := &world{T: t, node: netlab.Test(t), dir: ringside.Dir(t)}
	w.record()
	w.until("the spool has packets", func() bool { // alerts that began before are anchored later
		_, text, err := w.recorder.Get("/readyz?format=json")
		var r api.Report
		return err == nil && json.Unmarshal([]byte(text), &r) == nil && !r.Spool.Oldest.IsZero()
	})
	w.write("alertmanager.yml", alertmanagerConfig)
	w.write("prometheus.yml", prometheusConfig)
	w.write("rules.yml", rules)
	w.start("prometheus-alertmanager", "--config.file=alertmanager.yml", "--storage.path=alerts", "--web.listen-address=127.0.0.1:9093", "--cluster.listen-address=")
	// Prometheus drops what it has to say before it has found Alertmanager, and says it again after the delay. Four times that
	// without a word, and the alert counts as resolved.
	w.start("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=series", "--web.listen-address=127.0.0.1:9090", "--rules.alert.resend-delay=10s")

	w.until("the recorder was told three times", func() bool { return w.told() >= 3 })
	began := w.beginning()
	w.incident(began)

	w.recorder.Kill()
	w.record()
	w.until("the recorder was told again", func() bool { return w.told() >= 3 })
	w.incident(began)

	if status, answer, err := w.recorder.Post("/v1/observations", `{"what": "all is well"}`); err != nil || status != 202 {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	var noted []hoststate.Event
	w.until("the end is noted", func() bool {
		_, text, err := w.recorder.Get("/v1/timeline?kind=alert.resolved")
		noted = nil
		for in := json.NewDecoder(strings.NewReader(text)); err == nil; {
			var e hoststate.Event
			if err = in.Decode(&e); err == nil {
				noted = append(noted, e)
			}
		}
		return len(noted) > 0
	})
	if e := noted[0]; len(noted) != 1 || e.Subject != "Seen" || e.Source != "alertmanager" || !e.Time.After(began) || !strings.Contains(string(e.Data), `"node":"n1"`) {
		t.Errorf("the timeline has %d: %+v with %s", len(noted), e, e.Data)
	}
	w.incident(began)
}

// record starts the recorder, or starts it again.
func (w *world) record() {
	w.Helper()
	w.recorder = ringside.Launch(w.T, ringside.Options{
		Namespace: w.node, Binary: ringside.Binary(w.T, ""), Dir: w.dir, Interfaces: "[lo]", Services: "[{name: alerts, ports: [9093]}]",
		More: fmt.Sprintf("upload: {to: 'file://%s/store'}\ntrigger: {pre: 30s, post: 1s, http_rate: 100}", w.dir),
	})
}

// start starts a program of the node, which ends with the test.
func (w *world) start(name string, args ...string) {
	w.Helper()
	var out buffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, &out, &out
	if err := w.node.Start(cmd); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = cmd.Process.Kill() // what is asked of it is on the recorder's disk
		_ = cmd.Wait()
		if w.Failed() {
			w.Logf("%s: %s", name, out.String())
		}
	})
}

// buffer is what a program writes.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (w *world) write(name, text string) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

func (w *world) until(what string, holds func() bool) {
	w.Helper()
	if err := w.recorder.Until(patience, what, holds); err != nil {
		w.Fatal(err)
	}
}

// told is how many notifications this recorder has taken.
func (w *world) told() int {
	m, err := w.recorder.Metrics()
	if err != nil {
		return 0
	}
	return int(m[`ringside_api_requests_total{class="2xx",route="/v1/alertmanager"}`])
}

// beginning is when the alert began, as Alertmanager has it.
func (w *world) beginning() time.Time {
	w.Helper()
	text, err := w.node.Run("curl", "-sf", "http://127.0.0.1:9093/api/v2/alerts")
	var alerts []struct{ StartsAt time.Time }
	if err == nil {
		err = json.Unmarshal([]byte(text), &alerts)
	}
	if err != nil || len(alerts) != 1 {
		w.Fatalf("alerts %s: %v", text, err)
	}
	return alerts[0].StartsAt
}

// incident fails unless there is one incident, of one trigger, at that moment.
func (w *world) incident(began time.Time) {
	w.Helper()
	_, text, err := w.recorder.Get("/v1/incidents?local")
	var answer struct{ Incidents []api.Incident }
	if err == nil {
		err = json.Unmarshal([]byte(text), &answer)
	}
	if err != nil || len(answer.Incidents) != 1 || answer.Incidents[0].Local == nil || len(answer.Incidents[0].Local.Triggers) != 1 {
		w.Fatalf("incidents %s: %v, want one with one trigger", text, err)
	}
	i := answer.Incidents[0].Local
	got := i.Triggers[0]
	if !got.At.Equal(began) || got.Reason != "Seen" || got.Source != trigger.SourceAlert || got.Labels["severity"] != "page" || got.Labels["node"] != "n1" {
		w.Errorf("the trigger is %+v, want one at %v", got, began)
	}
	if !i.From.Equal(began.Add(-30*time.Second)) || !i.To.Equal(began.Add(time.Second)) {
		w.Errorf("the window is %v to %v, want from 30 s before %v to 1 s after it", i.From, i.To, began)
	}
}
