package deploy

import (
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/test/netlab"
	"github.com/ringside/ringside/test/ringside"
)

func TestMain(m *testing.M) { ringside.Main(m) }

// TestRules has promtool check the rules and evaluate them over made-up series (testdata/alerts.yaml).
func TestRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: apt-get install prometheus")
	}
	for _, args := range [][]string{{"check", "rules", folder + "prometheus/alerts.yaml"}, {"test", "rules", "testdata/alerts.yaml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestMetrics holds every metric that a rule names against what a recorder serves whose store is away, and which has
// accepted a trigger and refused one.
func TestMetrics(t *testing.T) {
	names := regexp.MustCompile(`\b(?:ringside|process)_[a-z0-9_]+`).FindAllString(exprs(t), -1)
	if len(names) < 12 {
		t.Fatalf("the rules name %d metrics, want at least 12", len(names))
	}
	served := scrape(t)
	for _, name := range names {
		if !strings.Contains(served, "\n"+name+"{") && !strings.Contains(served, "\n"+name+" ") {
			t.Errorf("a rule uses %s, which the recorder does not serve", name)
		}
	}
	for _, label := range regexp.MustCompile(`[a-z_]+\{(kind|state)!?="[a-z]+"`).FindAllString(exprs(t), -1) {
		if key := label[strings.Index(label, "{")+1 : strings.IndexAny(label, "!=")]; !strings.Contains(served, key+`="`) {
			t.Errorf("a rule uses the label %s, which the recorder does not serve", key)
		}
	}
}

// exprs is the expressions of all rules.
func exprs(t *testing.T) string {
	t.Helper()
	var groups struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	unmarshal(t, read(t, "prometheus/alerts.yaml"), &groups)
	var b strings.Builder
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			b.WriteString(r.Expr + "\n")
		}
	}
	return b.String()
}

// scrape returns what /metrics has of a recorder that was made to have everything.
func scrape(t *testing.T) string {
	t.Helper()
	n, peer := netlab.Test(t), netlab.Test(t)
	if err := n.Veth("v0", peer, "v1"); err != nil {
		t.Fatal(err)
	}
	r := ringside.Launch(t, ringside.Options{
		Namespace: n, Binary: ringside.Binary(t, ""), Interfaces: "[v0]", Services: "[redis]",
		More: "trigger: {pre: 1s, post: 1s}\nupload: {to: \"s3://bucket\", s3: {endpoint: \"http://127.0.0.1:9\", region: x, path_style: true,\n" +
			"  access_key_id: AKIAEXAMPLE, secret_access_key: example}}",
	})
	for _, want := range []int{http.StatusAccepted, http.StatusTooManyRequests} {
		if status, answer, err := r.Post("/v1/triggers", `{"reason": "alerts"}`); err != nil || status != want {
			t.Fatalf("trigger: %d %s %v, want %d", status, answer, err, want)
		}
		if want == http.StatusAccepted { // one window is complete before the other is asked for, or they would be merged
			await(t, r, "ringside_incidents_oldest_ready_timestamp_seconds ")
		}
	}
	return await(t, r, "ringside_upload_failing_total 1")
}

// await scrapes until the metrics have a line that begins with text.
func await(t *testing.T, r *ringside.Recorder, text string) string {
	t.Helper()
	var body string
	err := r.Until(time.Minute, fmt.Sprintf("serving %q", text), func() bool {
		status, got, err := r.Get("/metrics")
		body = got
		return err == nil && status == http.StatusOK && strings.Contains(got, "\n"+text)
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}
