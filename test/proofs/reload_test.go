package proofs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
)

// mounted is a directory with a configuration as the kubelet mounts a ConfigMap: config.yaml leads through ..data into
// a directory, and ..data is renamed over to change it.
type mounted struct {
	dir     string
	version int
}

func mount(t *testing.T) *mounted {
	t.Helper()
	m := &mounted{dir: ringside.Dir(t)}
	mustDo(t, os.Mkdir(m.path(0), 0o755), os.Symlink(filepath.Base(m.path(0)), filepath.Join(m.dir, "..data")),
		os.Symlink("..data/config.yaml", filepath.Join(m.dir, "config.yaml")))
	return m
}

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (m *mounted) path(version int) string {
	return filepath.Join(m.dir, fmt.Sprintf("..v%d", version))
}

// swap puts another text into the place of the present one.
func (m *mounted) swap(t *testing.T, text string) {
	t.Helper()
	next, link := m.path(m.version+1), filepath.Join(m.dir, "..data_tmp")
	mustDo(t, os.Mkdir(next, 0o755), os.WriteFile(filepath.Join(next, "config.yaml"), []byte(text), 0o600),
		os.Symlink(filepath.Base(next), link), os.Rename(link, filepath.Join(m.dir, "..data")), os.RemoveAll(m.path(m.version)))
	m.version++
}

// configState is what /readyz?verbose says of the configuration.
type configState struct {
	Hash, Error  string
	NeedsRestart []string `json:"needs_restart"`
}

func configuration(t *testing.T, r *ringside.Recorder) configState {
	t.Helper()
	_, body, err := r.Get("/readyz?verbose&format=json")
	if err != nil {
		t.Fatal(err)
	}
	var report struct{ Config configState }
	if err := json.Unmarshal([]byte(body), &report); err != nil {
		t.Fatalf("readyz: %v: %s", err, body)
	}
	return report.Config
}

// awaitConfiguration waits until what is said of the configuration is as wanted.
func awaitConfiguration(t *testing.T, r *ringside.Recorder, what string, holds func(configState) bool) {
	t.Helper()
	var last configState
	if err := r.Until(patience, what, func() bool { last = configuration(t, r); return holds(last) }); err != nil {
		t.Fatalf("%v; last %+v", err, last)
	}
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// TestReloads changes a service, a limit and the level of the log again and again under traffic, with bad files in
// between: on the interfaces and services that stay, every packet is recorded once and as configured, and of the
// service that comes and goes exactly the packets from when it was there.
func TestReloads(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	reloads := pick(10, 100)
	const comesPort, perRound, rate = 3306, 50, 1500
	m := mount(t)
	s := newSite(t, "up0", "veth0", "veth1")
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Dir: m.dir,
		Interfaces: `[up0, "veth*"]`, Rotate: map[string]string{"every": "5s"},
	})
	text, err := os.ReadFile(r.Config())
	mustDo(t, err)
	original := string(text)
	var stay []traffic
	for i, name := range []string{"up0", "veth0"} {
		stay = append(stay, s.both(t, uint32(10+2*i), name)...)
	}
	var stops []func()
	for _, f := range stay {
		stops = append(stops, steady(t, f.Sender, rate))
	}
	plan := loadgen.Plan{ID: 30, Port: comesPort, V6: true, Tags: true, Sizes: mixedSizes}
	comes := s.inbound(t, "veth1", plan)
	var there []bool // by round, whether the service was
	told := 0        // rounds in which a line at info level says that the filter was replaced
	levels := []string{"info", "warn", "debug"}
	inForce := original
	for i := range reloads {
		if i%3 == 2 {
			m.swap(t, strings.Replace(inForce, "every:", "evry:", 1))
			awaitConfiguration(t, r, "told of a bad file", func(c configState) bool {
				return strings.Contains(c.Error, "evry") && c.Hash == hashOf(inForce)
			})
		}
		next := original
		if i%2 == 0 {
			next = strings.Replace(next, services, "[postgres, {name: redis, payload: full}, mysql]", 1)
		}
		next = strings.Replace(next, "every: 5s", fmt.Sprintf("every: %ds", 2+i%5), 1)
		next = strings.Replace(next, "level: debug", "level: "+levels[i%3], 1)
		next += fmt.Sprintf("trigger: {cooldown: %ds}\n", 60+i) // a limit that is new each time
		m.swap(t, next)
		awaitConfiguration(t, r, "at the new configuration", func(c configState) bool {
			return c.Hash == hashOf(next) && c.Error == "" && c.NeedsRestart == nil
		})
		if !strings.Contains(inForce, "level: warn") {
			told++
		}
		inForce = next
		send(t, comes, perRound, 0)
		there = append(there, i%2 == 0)
	}
	for _, stop := range stops {
		stop()
	}
	ended := metrics(t, r)
	checkLab(t, s, stay)
	mustDo(t, r.Stop())
	if dropped, unwritten := sum(t, ended, droppedMetric), sum(t, ended, unwrittenMetric); dropped != 0 || unwritten != 0 {
		t.Errorf("%d packets dropped by the kernel, %d not written, want none", dropped, unwritten)
	}
	source := readback.Source{Plan: plan, Interfaces: []string{"veth1"}}
	l := ledgerOf(t, r, append(sources(stay), source)...)
	exact(t, l, senders(stay)...)
	wrong := 0
	for n := range comes.Count() {
		if l.Has(plan.ID, n) != there[n/perRound] {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("of %d packets of the service that comes and goes, %d are recorded or missing against the configuration", comes.Count(), wrong)
	}
	if got := strings.Count(r.Log(), `"msg":"the filter was replaced"`); got != told {
		t.Errorf("%d lines in the log say that the filter was replaced, want %d: those while the level was not warn", got, told)
	}
	replaced := len(notes(t, sealed(t, r), "filter"))
	if want := 2 * reloads; replaced != want { // in both rings; the service changes each time
		t.Errorf("%d notes say that a filter was replaced, want %d", replaced, want)
	}
	t.Logf("%d reloads under %d packets on what stays; %d filters replaced", reloads, count(stay), replaced)
}
