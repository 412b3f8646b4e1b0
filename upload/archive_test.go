package upload

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringside/ringside/trigger"
)

// listed renders what a query finds: node and offset from the night's begin, with ! before a problem.
func listed(t *testing.T, a *Archive, q Query) (list []string) {
	t.Helper()
	for b, err := range a.List(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		begun, _ := trigger.IDTime(b.Incident)
		text := fmt.Sprintf("%s/%s+%v", b.Cluster, b.Node, begun.Sub(night))
		text = strings.Replace(text, "+-", "-", 1)
		if b.Problem != nil {
			text = "!" + text
		}
		if (b.Problem == nil) != (b.Manifest != nil) {
			t.Errorf("%s has manifest %v and problem %v", text, b.Manifest, b.Problem)
		}
		list = append(list, text)
	}
	return list
}

func because(reason string) func(*Manifest) {
	return func(m *Manifest) { m.Triggers[0].Reason = reason }
}

func TestList(t *testing.T) {
	a, dir := newArchive(t)
	for _, b := range []struct {
		Place
		reason string
	}{
		{at(0, "n1"), "slow"}, {at(0, "n2"), "slow"}, {at(time.Hour, "n1"), "oom"}, {at(-24*time.Hour, "n1"), "slow"},
		{Place{"test", idAt(time.Minute), "n1"}, "slow"}, {at(-40*24*time.Hour, "n2"), "oom"},
	} {
		putBundle(t, a.store, b.Place, packets(1), CompressionNone, because(b.reason))
	}
	put(t, a.store, at(2*time.Hour, "n1").Prefix()+"capture-B.pcapng", nil) // never finished
	put(t, a.store, at(3*time.Hour, "n3").Prefix()+ManifestName, []byte("{"))
	foreign := []string{
		"backup/x", "cluster=prod/README", "cluster=prod/date=tomorrow/x", "cluster=.hidden/date=2026-11-22/x",
		"cluster=prod/date=2026-11-22/incident=nonsense/node=n1/manifest.json",
		"cluster=prod/date=2026-11-21/incident=" + idAt(0) + "/node=n1/manifest.json", // under another date
		at(0, "n1").Prefix() + "deeper/x",
	}
	for _, key := range foreign {
		put(t, a.store, key, []byte("x"))
	}
	all := []string{"!prod/n3+3h0m0s", "!prod/n1+2h0m0s", "prod/n1+1h0m0s", "test/n1+1m0s", "prod/n1+0s", "prod/n2+0s", "prod/n1-24h0m0s", "prod/n2-960h0m0s"}
	tests := []struct {
		name  string
		query Query
		want  []string
	}{
		{"all", Query{}, all},
		{"since", Query{From: night}, all[:6]},
		{"since, in another zone", Query{From: night.In(time.FixedZone("x", 3600*9))}, all[:6]},
		{"before", Query{To: night}, all[6:]},
		{"a minute", Query{From: night.Add(time.Minute), To: night.Add(time.Minute + time.Microsecond)}, all[3:4]},
		{"an empty stretch", Query{From: night.Add(time.Second), To: night.Add(time.Minute)}, nil},
		{"over midnight", Query{From: night.Add(-25 * time.Hour), To: night.Add(time.Minute)}, all[4:7]},
		{"node", Query{Node: "n2"}, []string{all[5], all[7]}},
		{"cluster", Query{Cluster: "test"}, all[3:4]},
		{"reason, and who knows", Query{Reason: "oom"}, []string{all[0], all[1], all[2], all[7]}},
		{"nothing", Query{Cluster: "other"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := listed(t, a, test.query); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
	var named []string
	listed(t, a, Query{Foreign: func(key string) { named = append(named, key) }})
	want := []string{"backup/", "cluster=.hidden/", "cluster=prod/date=tomorrow/", foreign[4], foreign[5], foreign[6]}
	slices.Sort(named)
	slices.Sort(want)
	if !slices.Equal(named, want) {
		t.Errorf("foreign: got %q\nwant %q", named, want)
	}
	for b, err := range NewArchive(openDir(dir+"/nowhere", 0)).List(t.Context(), Query{}) {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("of a store that is not there: %v, %v", b, err)
		}
	}
}

// A listing is complete beyond a thousand keys, in order, and costs what is asked.
func TestListMany(t *testing.T) {
	defer goleak.VerifyNone(t)
	a, dir := newArchive(t)
	const count = 1200
	for i := range count { // written as files: a Put is durable, which takes its time
		plant(t, dir, at(time.Duration(i)*time.Second, fmt.Sprintf("n%d", i%7)))
	}
	var reads atomic.Int64
	a.store = tap{Store: a.store, got: func(string, int64) { reads.Add(1) }}
	n := 0
	for b, err := range a.List(t.Context(), Query{}) {
		if err != nil || b.Problem != nil {
			t.Fatal(err, b.Problem)
		}
		if want := at(time.Duration(count-1-n)*time.Second, fmt.Sprintf("n%d", (count-1-n)%7)); b.Place != want {
			t.Fatalf("number %d is %v, want %v", n, b.Place, want)
		}
		n++
	}
	if n != count || reads.Load() != count {
		t.Errorf("%d bundles of %d, %d reads", n, count, reads.Load())
	}
	reads.Store(0)
	for range a.List(t.Context(), Query{}) {
		break
	}
	if got := reads.Load(); got > manifestsAtOnce {
		t.Errorf("the newest alone costs %d reads, want at most %d", got, manifestsAtOnce)
	}
	reads.Store(0)
	if got := listed(t, a, Query{From: night.Add(time.Minute), To: night.Add(61 * time.Second)}); len(got) != 1 || reads.Load() != 1 {
		t.Errorf("one second gives %v with %d reads", got, reads.Load())
	}
}

// A manifest that cannot be read is a problem of its bundle; a store that cannot is an error.
func TestListErrors(t *testing.T) {
	defer goleak.VerifyNone(t)
	a, _ := newArchive(t)
	for i := range 30 {
		putBundle(t, a.store, at(time.Duration(i)*time.Second, "n1"), nil, CompressionNone)
	}
	inner := a.store
	a.store = tap{Store: inner, deny: func(key string) error {
		if strings.Contains(key, idAt(7*time.Second)) {
			return errors.New("connection reset")
		}
		if strings.Contains(key, idAt(9*time.Second)) {
			return ErrDenied
		}
		return nil
	}}
	if got := listed(t, a, Query{}); len(got) != 30 || got[29-7] != "!prod/n1+7s" || got[29-9] != "!prod/n1+9s" {
		t.Errorf("it lists %v", got)
	}
	var broken sync.Map // manifests of which an answer broke off
	a.store = tap{Store: inner, body: func(key string, _ int64, r io.ReadCloser) io.ReadCloser {
		if _, again := broken.LoadOrStore(key, true); again && !strings.Contains(key, idAt(7*time.Second)) {
			return r
		}
		return &breaking{r, 10}
	}}
	if got := listed(t, a, Query{}); len(got) != 30 || got[29-7] != "!prod/n1+7s" || strings.Count(strings.Join(got, ""), "!") != 1 {
		t.Errorf("answers break off: %v", got)
	}
	a.store = tap{Store: inner, deny: func(string) error { return errors.New("no route to host") }}
	n := 0
	var last error
	for _, err := range a.List(t.Context(), Query{}) {
		n++
		last = err
	}
	if n != manifestsAtOnce || last == nil || !strings.Contains(last.Error(), "no route to host") {
		t.Errorf("the store is away: %d bundles, then %v", n-1, last)
	}
	a.store = tap{Store: inner, deny: func(string) error { return ErrDenied }}
	if got := listed(t, a, Query{}); len(got) != 30 || !strings.HasPrefix(got[0], "!") {
		t.Errorf("manifests may not be read, but listed: %v", got)
	}
}

func with(ids ...string) func(*Manifest) {
	return func(m *Manifest) {
		for _, id := range ids {
			begun, _ := trigger.IDTime(id)
			m.Triggers = append(m.Triggers, trigger.Trigger{ID: id, Reason: "again", At: begun})
		}
	}
}

func TestFind(t *testing.T) {
	a, _ := newArchive(t)
	other := night.Add(5*time.Minute).Format("20060102T150405.000000Z") + "-ffffffff"
	putBundle(t, a.store, at(0, "n1"), nil, CompressionNone, with(idAt(time.Minute), idAt(23*time.Hour), idAt(25*time.Hour)))
	putBundle(t, a.store, at(0, "n2"), nil, CompressionNone)
	putBundle(t, a.store, Place{"test", idAt(0), "n1"}, nil, CompressionNone)
	putBundle(t, a.store, at(5*time.Minute, "n3"), nil, CompressionNone)
	putBundle(t, a.store, at(-30*time.Minute, "n4"), nil, CompressionNone, with(idAt(5*time.Minute)))
	putBundle(t, a.store, at(-2*time.Hour, "n5"), nil, CompressionNone, with(idAt(5*time.Minute)))
	putBundle(t, a.store, at(6*time.Minute, "n6"), nil, CompressionNone, with(other)) // begun after the trigger: not so
	put(t, a.store, at(7*time.Minute, "n7").Prefix()+ManifestName, []byte("[]"))
	tests := []struct {
		name, id string
		want     []string // nodes, in order
		text     string   // of the error
	}{
		{"incident of two nodes and two clusters", idAt(0), []string{"n1", "n2", "n1"}, ""},
		{"merged", idAt(time.Minute), []string{"n1"}, ""},
		{"merged, on another date", idAt(23 * time.Hour), []string{"n1"}, ""},
		{"merged more than a day later", idAt(25 * time.Hour), nil, ErrNotFound.Error()},
		{"unknown, and perhaps in one that cannot be read", idAt(8 * time.Minute), nil, "(1 of the day before"},
		{"an incident here, merged there", idAt(5 * time.Minute), []string{"n3", "n4"}, ""},
		{"a damaged one", idAt(7 * time.Minute), []string{"n7"}, ""},
		{"another of the same moment", other, nil, ErrNotFound.Error()},
		{"unknown", idAt(-100 * time.Hour), nil, ErrNotFound.Error()},
		{"no id", "../../etc", nil, "is no id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			list, err := a.Find(t.Context(), test.id)
			var nodes []string
			for _, b := range list {
				nodes = append(nodes, b.Node)
			}
			if !slices.Equal(nodes, test.want) || (err == nil) != (test.text == "") {
				t.Fatalf("found %v, %v; want %v", nodes, err, test.want)
			}
			if err != nil && (!errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), test.text)) {
				t.Errorf("error %v, want %q", err, test.text)
			}
		})
	}
}
