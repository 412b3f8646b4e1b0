package proofs

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/upload"
)

// incidentStages are the stages from a trigger to the end of its incident, and how often each is passed at most before
// the kill, so that it does not always hit a recorder's first incident.
var incidentStages = map[string]int{
	"journalled": 4, "pinned": 4, "post-roll": 3, "sealing": 2,
	"uploading": 3, "before-manifest": 2, "after-manifest": 2, "releasing": 2,
}

// TestIncidentCrash kills recorders between a trigger and the end of its incident, at every stage and at random. The
// client's own log of what was promised is the oracle.
func TestIncidentCrash(t *testing.T) {
	server := s3server.Start(t)
	perStage, random, workers := pick(1, 18), pick(2, 60), pick(3, 4)
	plans := shuffledPlans(perStage, random)
	var mu sync.Mutex
	own, total := map[string]int{}, 0
	t.Run("kills", func(t *testing.T) {
		for w := range workers {
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				t.Parallel()
				var mine []string
				for i := w; i < len(plans); i += workers {
					mine = append(mine, plans[i])
				}
				kills := crashIncidents(t, target(t, w, server), mine)
				mu.Lock()
				defer mu.Unlock()
				for stage, n := range kills {
					own[stage] += n
					total += n
				}
			})
		}
	})
	for stage := range incidentStages {
		if own[stage] < perStage {
			t.Errorf("%d recorders were killed at %s, want %d", own[stage], stage, perStage)
		}
	}
	t.Logf("%d kills: %v", total, own)
}

func shuffledPlans(perStage, random int) (plans []string) {
	for stage := range incidentStages {
		for range perStage {
			plans = append(plans, stage)
		}
	}
	for range random {
		plans = append(plans, "random")
	}
	rand.Shuffle(len(plans), func(i, j int) { plans[i], plans[j] = plans[j], plans[i] })
	return plans
}

// storage is where a site's recorder stores its bundles.
type storage struct {
	site
	yaml  string
	store upload.Store
}

// target returns the storage of a worker: the first one's is a directory, the others' S3.
func target(t *testing.T, worker int, server *s3server.Server) storage {
	t.Helper()
	s := storage{site: newSite(t, "v0")}
	var cfg upload.Config
	if worker == 0 {
		cfg.To = "file://" + t.TempDir()
		s.yaml = "upload: {to: \"" + cfg.To + "\"}\n"
	} else {
		prefix := fmt.Sprint("worker", worker)
		cfg = server.Config(prefix)
		s.yaml = storeYAML(server, s.reach(t, server.URL), prefix)
	}
	var err error
	if s.store, err = upload.OpenStore(t.Context(), cfg, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// crashIncidents kills recorders of one spool one after the other, and checks what became of what they promised.
func crashIncidents(t *testing.T, s storage, plans []string) (kills map[string]int) {
	sender := s.inbound(t, "v0", loadgen.Plan{ID: 1, Port: headersPort, Sizes: mixedSizes})
	o := ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, "failpoint"), Dir: ringside.Dir(t), Services: services, Interfaces: "[v0]",
		Rotate: map[string]string{"every": "1s"},
		More:   "trigger: {" + generous + "}\n" + s.yaml,
	}
	defer steady(t, sender, 500)()
	promised := &promised{}
	kills = map[string]int{}
	for n, stage := range plans {
		kills[stage] += crashOnce(t, o, stage, promised, n)
	}
	last := ringside.Launch(t, o)
	delivered(t, last, patience)
	if err := last.Stop(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, last)
	bundles := kept(t, s.store, promised)
	swept(t, s.store)
	t.Logf("%d promises, %d bundles, %d kills", len(promised.ids), len(bundles), len(plans))
	return kills
}

// crashOnce starts a recorder, asks for incidents until it dies of its failpoint, or kills it at random, and returns how
// often it was killed.
func crashOnce(t *testing.T, o ringside.Options, stage string, p *promised, n int) int {
	t.Helper()
	var deadline <-chan time.Time
	if stage == "random" {
		deadline = time.After(rand.N(3 * time.Second))
	} else {
		o.Env = []string{fmt.Sprintf("RINGSIDE_FAILPOINT=%s:%d", stage, 1+rand.N(incidentStages[stage]))}
		deadline = time.After(patience)
	}
	r, err := ringside.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Kill()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	next, fired := time.Now(), 0
	for {
		select {
		case <-r.Ended():
			if code, err := r.Wait(time.Second); code != -1 {
				t.Fatalf("the recorder was not killed but ended with %d: %v: %s", code, err, r.Log())
			}
			return 1
		case <-deadline:
			if stage != "random" {
				t.Errorf("the recorder passed %s less often than %s: %s", stage, o.Env, r.Log())
				return 0
			}
			return 1
		case <-tick.C:
		}
		if time.Now().Before(next) {
			continue
		}
		if _, err := p.fire(r, fmt.Sprintf("%s %d.%d", stage, n, fired), "500ms", "300ms"); err == nil {
			if fired++; fired%2 == 0 { // two that share an incident, then time for it to end
				next = time.Now().Add(1500 * time.Millisecond)
			}
		}
	}
}
