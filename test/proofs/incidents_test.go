package proofs

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/test/schema"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// generous is what the trigger section has in proofs that are not about its budgets.
const generous = "budget: {incidents_per_hour: 100000, bytes_per_day: 1TiB, pinned: 4GiB}, rate: 100000, http_rate: 100000, cooldown: 1s"

// promised is the oracle: every id that a recorder has answered with 202, as the client saw it.
type promised struct {
	mu  sync.Mutex
	ids []string
}

func (p *promised) add(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids = append(p.ids, id)
}

// fire asks for an incident and keeps its id if the recorder promises it.
func (p *promised) fire(r *ringside.Recorder, reason, pre, post string) (status int, err error) {
	status, answer, err := r.Post("/v1/triggers", fmt.Sprintf(`{"reason": %q, "pre": %q, "post": %q}`, reason, pre, post))
	if err != nil || status != http.StatusAccepted {
		return status, err
	}
	var receipt trigger.Receipt
	if err := json.Unmarshal([]byte(answer), &receipt); err != nil {
		return status, err
	}
	p.add(receipt.ID)
	return status, nil
}

// delivered waits until the recorder has nothing left to store.
func delivered(t *testing.T, r *ringside.Recorder, within time.Duration) {
	t.Helper()
	var last string
	err := r.Until(within, "done with its incidents", func() bool {
		m, err := r.Metrics()
		if err != nil {
			return false
		}
		open, ready := m["ringside_incidents_total"+`{state="open"}`], m["ringside_incidents_total"+`{state="ready"}`]
		last = fmt.Sprint(open, " open, ", ready, " ready")
		return open+ready == 0
	})
	if err != nil {
		t.Fatal(last, ": ", err)
	}
}

// kept fails unless every id that was promised leads to exactly one bundle, whose objects are as its manifest says.
// It returns the bundles by incident.
func kept(t *testing.T, store upload.Store, p *promised) map[string]upload.Bundle {
	t.Helper()
	archive := upload.NewArchive(store)
	found := map[string]upload.Bundle{}
	for _, id := range p.ids {
		bundles, err := archive.Find(t.Context(), id)
		if err != nil || len(bundles) != 1 || bundles[0].Problem != nil {
			t.Errorf("%s was promised and has %d bundles: %v, %+v", id, len(bundles), err, bundles)
			continue
		}
		found[bundles[0].Incident] = bundles[0]
	}
	for _, b := range found {
		objects := 4 // packets, timeline, report, and its page
		if b.Manifest.ReportError != "" {
			objects = 2
			t.Logf("%s has no report: %s", b.Incident, b.Manifest.ReportError)
		}
		if b.Manifest.Window.Asked.From.IsZero() || len(b.Manifest.Objects) != objects || (b.Manifest.Verdict == nil) != (objects == 2) {
			t.Errorf("%s: manifest %+v", b.Incident, b.Manifest)
		}
		if err := schema.Validate(b.Raw); err != nil {
			t.Errorf("%s: the manifest is not as the schema says: %v", b.Incident, err)
		}
		if err := archive.Verify(t.Context(), b, nil); err != nil {
			t.Errorf("%s: %v", b.Incident, err)
		}
	}
	return found
}

// nothingLeft fails if a recorder that has stopped holds a pin, or anything in its journal that is not a record of what
// is stored.
func nothingLeft(t *testing.T, r *ringside.Recorder) {
	t.Helper()
	spool := r.Namespace.Path(filepath.Join(r.Dir, "spool"))
	for dir, fine := range map[string]func(string) bool{
		"pins":    func(string) bool { return false },
		"windows": func(string) bool { return false },
		"incidents": func(name string) bool {
			return strings.HasSuffix(name, ".stored.json") || name == "chain.json" || name == "suppressed.json"
		},
	} {
		entries, err := os.ReadDir(filepath.Join(spool, dir))
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if !fine(e.Name()) {
				t.Errorf("%s/%s is left", dir, e.Name())
			}
		}
	}
}

// swept sweeps the store and fails if anything is in it afterwards that no manifest names. There may be bundles that
// nobody was promised: the recorder was killed between the journal and the answer.
func swept(t *testing.T, store upload.Store) {
	t.Helper()
	archive, removed := upload.NewArchive(store), 0
	for o, err := range archive.Sweep(t.Context(), upload.SweepOptions{Before: time.Now()}) {
		if err != nil || o.Err != nil {
			t.Fatal(err, o.Err)
		}
		removed++
	}
	var want, got []string
	bundles := 0
	for b, err := range archive.List(t.Context(), upload.Query{}) {
		if err != nil || b.Problem != nil {
			t.Fatal(err, b.Problem)
		}
		bundles++
		want = append(want, b.Prefix()+upload.ManifestName)
		for _, o := range b.Manifest.Objects {
			want = append(want, b.Prefix()+o.Name)
		}
	}
	for o, err := range store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Key)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("after the sweep the store has %d objects, %d are named by manifests: %v", len(got), len(want), got)
	}
	for u, err := range store.Unfinished(t.Context(), "") {
		t.Errorf("an unfinished upload is left: %+v, %v", u, err)
	}
	t.Logf("%d bundles in the store; the sweep removed %d objects", bundles, removed)
}

// storeYAML is the upload section for a server that is reached at a URL.
func storeYAML(server *s3server.Server, url, prefix string) string {
	return fmt.Sprintf("upload: {to: s3://%s/%s, s3: {endpoint: %q, region: %s, path_style: true, ca_file: %s, access_key_id: %s, secret_access_key: %s}}\n",
		server.Bucket, prefix, url, server.Region, server.CAFile, server.AccessKey, server.SecretKey)
}

// reach makes a server on the machine's loopback, such as https://127.0.0.1:1234, one of the node's loopback, and
// returns its URL there.
func (s site) reach(t *testing.T, server string) (url string) {
	t.Helper()
	if err := s.node.Up("lo"); err != nil {
		t.Fatal(err)
	}
	if err := s.node.Do(func() error { url = forward(t, server); return nil }); err != nil {
		t.Fatal(err)
	}
	return url
}

// forward listens on loopback, in the namespace of the calling thread, for what it carries to a server on the
// machine's loopback, and returns the server's URL there.
func forward(t *testing.T, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := u.Host
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { relay(c, address) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	u.Host = l.Addr().String()
	return u.String()
}

// relay carries bytes between a connection and an address until either side ends.
func relay(c net.Conn, address string) {
	defer c.Close()
	other, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer other.Close()
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{c, other}, {other, c}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // how it ends is the two ends' business
			pair[0].Close()
			pair[1].Close()
		})
	}
	both.Wait()
}

// incident asks the recorder for what it knows of an incident.
func incident(t *testing.T, r *ringside.Recorder, id string) trigger.Incident {
	t.Helper()
	status, body, err := r.Get("/v1/incidents/" + id + "?local")
	if err != nil || status != http.StatusOK {
		t.Fatalf("incident %s: %d, %v: %s", id, status, err, body)
	}
	var answer struct{ Local trigger.Incident }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Local
}
