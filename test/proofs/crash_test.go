package proofs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
)

// stages at which the failpoint build kills itself (package rotate), and at which passage, so that it has lived for
// about three seconds with segments of one second. Pins have no command yet, so their stages are left to rotate's own
// tests.
var stages = map[string]int{
	"segment-created": 4, "meta-written": 4, "chunk-written": 5,
	"seal-started": 3, "seal-truncated": 3, "seal-synced": 3, "index-temp": 3, "index-written": 3, "renamed": 3, "sealed": 3,
	inRetention:       3,
	"recovery-walked": 1, "recovery-truncated": 1, "recovery-indexed": 1, "recovery-renamed": 1,
}

// inRetention is the stage that has a proof of its own.
const inRetention = "retention-unlinked"

// life is one run of a recorder that was killed.
type life struct {
	stage  string // empty: killed at random
	ready  int64  // ns since 1970, 0 if it never was
	killed int64
	own    bool // killed by its failpoint
}

// grace is what may be missing before a kill.
const grace = 2 * time.Second

// TestCrash kills recorders under traffic, at every stage and at random, and holds what is in the spool after restart
// against the sender's log.
func TestCrash(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	perStage := pick(1, 5)
	plans := crashPlans(perStage, pick(2, 40))
	workers := pick(3, 4)
	var mu sync.Mutex
	var all []life
	t.Run("kills", func(t *testing.T) {
		for w := range workers {
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				t.Parallel()
				var mine []string
				for i := w; i < len(plans); i += workers {
					mine = append(mine, plans[i])
				}
				c := scene{
					plan:   loadgen.Plan{ID: 1, Port: headersPort, V6: true, Tags: true, Sizes: mixedSizes},
					rate:   1000,
					rotate: map[string]string{"every": "1s"},
				}
				lives := c.crash(t, mine)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, lives...)
			})
		}
	})
	logLives(t, all, perStage)
}

// crashPlans are the stages of every kill in random order, as what a stage finds depends on the kill before.
func crashPlans(perStage, random int) (plans []string) {
	for stage := range stages {
		for range perStage {
			if stage != inRetention {
				plans = append(plans, stage)
			}
		}
	}
	for range random {
		plans = append(plans, "")
	}
	rand.Shuffle(len(plans), func(i, j int) { plans[i], plans[j] = plans[j], plans[i] })
	return plans
}

// scene is what a recorder records when it is killed.
type scene struct {
	plan    loadgen.Plan
	payload int // bytes stored after the headers, negative: all
	rate    float64
	rotate  map[string]string
	removes bool // retention removes the oldest segments on the way
}

// crash kills recorders of one spool one after the other while packets come without pause, and checks the spool.
func (c scene) crash(t *testing.T, plans []string) (lives []life) {
	s := newSite(t, "v0")
	sender := s.inbound(t, "v0", c.plan)
	o := ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, "failpoint"), Dir: ringside.Dir(t),
		Services: services, Interfaces: "[v0]", Rotate: c.rotate,
	}
	stop := steady(t, sender, c.rate)
	for _, stage := range plans {
		v := live(t, o, stage)
		lives = append(lives, v)
		// A stage of recovery is not met when the kill before came while nothing was half done: then it is tried again.
		for tries := 1; stage != "" && !v.own && tries < 8; tries++ {
			v = live(t, o, stage)
			lives = append(lives, v)
		}
	}
	last := ringside.Launch(t, o)
	lastReady := time.Now().UnixNano()
	time.Sleep(100 * time.Millisecond)
	stop()
	if err := last.Stop(); err != nil {
		t.Fatal(err)
	}
	l := ledgerOf(t, last, readback.Source{Plan: c.plan, Interfaces: []string{"v0"}, Payload: c.payload})
	sane(t, l)
	oldest := 0
	if missing := l.Missing(sender.ID, sender.Count()); c.removes && len(missing) > 0 && missing[0].First == 0 {
		oldest = missing[0].Last + 1
		t.Logf("retention removed packets up to %d", oldest)
	}
	checkLives(t, l, sender, lives, oldest)
	if !c.removes {
		checkGaps(t, sealed(t, last), lives, lastReady)
	}
	return lives
}

// TestCrashInRetention kills recorders between a segment's removal and that of its index.
func TestCrashInRetention(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	c := scene{
		plan: loadgen.Plan{ID: 1, Port: wholePort, Sizes: []int{1400}}, payload: -1, rate: 2500, removes: true,
		rotate: map[string]string{"every": "1s", "max_size": "4MiB", "keep": "{bytes: 16MiB, age: 1h, free: 1%}"},
	}
	kills := pick(1, 5)
	lives := c.crash(t, slices.Repeat([]string{inRetention}, kills))
	for _, v := range lives {
		if !v.own {
			t.Errorf("a recorder was not killed at stage %q", inRetention)
		}
	}
}

// live starts a recorder and kills it, at its stage or at random after two to four seconds.
func live(t *testing.T, o ringside.Options, stage string) life {
	t.Helper()
	l := life{stage: stage}
	if stage != "" {
		o.Env = []string{fmt.Sprintf("RINGSIDE_FAILPOINT=%s:%d", stage, stages[stage])}
	}
	r, err := ringside.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Kill()
	limit := 20 * time.Second
	switch {
	case stage == "":
		limit = 2*time.Second + rand.N(2*time.Second)
	case strings.HasPrefix(stage, "recovery-"): // before it is ready, or not at all
		limit = 3 * time.Second
	}
	if r.Ready(patience) == nil {
		l.ready = time.Now().UnixNano()
	}
	_, err = r.Wait(limit)
	l.own = err == nil
	l.killed = time.Now().UnixNano() // a moment after its own end, when Wait has seen it
	r.Kill()
	if code := r.Log(); l.own && stage == "" || l.own && strings.Contains(code, "panic") {
		t.Errorf("recorder ended by itself (stage %q): %s", stage, code)
	}
	return l
}

// checkLives fails for every packet that was sent while a recorder was ready and more than the grace before its kill,
// and is not in the spool. Those before oldest
// have been removed by retention.
func checkLives(t *testing.T, l *readback.Ledger, s *loadgen.Sender, lives []life, oldest int) {
	t.Helper()
	sent := s.Sent()
	checked := 0
	for _, v := range lives {
		if v.ready == 0 {
			continue
		}
		from := sort.Search(len(sent), func(i int) bool { return sent[i] >= v.ready })
		to := sort.Search(len(sent), func(i int) bool { return sent[i] >= v.killed-int64(grace) })
		missing := 0
		for n := max(from, oldest); n < to; n++ {
			checked++
			if !l.Has(s.ID, n) {
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("killed at %q: %d of %d packets missing that were sent from readiness until %v before the kill", v.stage, missing, to-from, grace)
		}
	}
	t.Logf("%d packets sent, %d of them more than %v before a kill, all there; %d read in all", len(sent), checked, grace, l.Packets)
	if checked == 0 {
		t.Error("no life was long enough to check anything")
	}
}

// checkGaps fails unless the time between two recorders is in the files as a gap.
func checkGaps(t *testing.T, files []string, lives []life, last int64) {
	t.Helper()
	gaps := notes(t, files, "gap")
	lives = append(lives, life{ready: last})
	begun := false
	var killed int64
	for _, v := range lives {
		if begun && v.ready != 0 {
			found := false
			for _, g := range gaps {
				found = found || g.From <= killed && g.To > g.From && g.To <= v.ready+int64(time.Second) && g.To >= killed-int64(grace)
			}
			if !found {
				t.Errorf("no gap note for the time between a kill at %s and readiness at %s ms; there are %+v", ms(killed), ms(v.ready), gaps)
			}
		}
		if v.ready != 0 {
			begun, killed = true, v.killed
		}
	}
}

func logLives(t *testing.T, all []life, perStage int) {
	t.Helper()
	own, random := make(map[string]int), 0
	for _, v := range all {
		switch {
		case v.stage == "":
			random++
		case v.own:
			own[v.stage]++
		}
	}
	for stage := range stages {
		if own[stage] < perStage && stage != inRetention {
			t.Errorf("%d recorders were killed at stage %q, want %d", own[stage], stage, perStage)
		}
	}
	t.Logf("%d kills: %d at random, at stages: %v", len(all), random, own)
}
