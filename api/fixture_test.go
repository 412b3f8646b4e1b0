package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// Incidents of the tests: one that is stored, one that only this node knows, one that only the store knows.
const (
	incidentID = "20261122T030000.000000Z-0a1b2c3d"
	mergedID   = "20261122T030010.000000Z-0a1b2c3e"
	openID     = "20261122T040000.000000Z-00000001"
	oldID      = "20261121T030000.000000Z-00000002"
)

// engine records what it is given, and refuses all if it is told so.
type engine struct {
	mu         sync.Mutex
	requests   []trigger.Request
	suppressed []string // source, reason, kind
	refusal    error
}

func (e *engine) accept(_ context.Context, r trigger.Request) (trigger.Receipt, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = append(e.requests, r)
	if e.refusal != nil {
		return trigger.Receipt{}, e.refusal
	}
	return trigger.Receipt{ID: mergedID, Incident: incidentID, Merged: true, From: day, To: day.Add(time.Minute)}, nil
}

func (e *engine) suppress(source, reason, kind string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.suppressed = append(e.suppressed, strings.Join([]string{source, reason, kind}, "/"))
}

func localIncidents() []trigger.Incident {
	return []trigger.Incident{
		{ID: openID, State: trigger.StateOpen, From: day.Add(time.Hour), To: day.Add(2 * time.Hour), Triggers: []trigger.Trigger{{ID: openID, Reason: "slow"}}},
		{ID: incidentID, State: trigger.StateStored, From: day, To: day.Add(time.Minute), Triggers: []trigger.Trigger{{ID: incidentID, Reason: "reset"}, {ID: mergedID, Reason: "slow"}},
			Stored: &trigger.Stored{At: day, Manifest: "manifest.json"}},
	}
}

func suppressed() []trigger.Suppressed {
	return []trigger.Suppressed{{Minute: day, Source: "http", Reason: "slow", Kind: trigger.RefusedCooldown, Count: 3}}
}

var capture = bytes.Repeat([]byte("0123456789abcdef"), 10_000) // 160,000 bytes: more than one piece

var captureSHA256 = fmt.Sprintf("%x", sha256.Sum256(capture))

// newStore is a directory with the bundles of incidentID from two nodes and of oldID from one, whose file is not what
// its manifest says.
func newStore(t testing.TB) upload.Store {
	t.Helper()
	store, err := upload.OpenStore(t.Context(), upload.Config{To: "file://" + filepath.Join(t.TempDir(), "incidents")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	putBundle(t, store, upload.Place{Cluster: "c", Incident: incidentID, Node: "n1"}, capture, capture)
	putBundle(t, store, upload.Place{Cluster: "c", Incident: incidentID, Node: "n2"}, []byte("n2"), []byte("n2"))
	putBundle(t, store, upload.Place{Cluster: "c", Incident: oldID, Node: "n1"}, []byte("was this"), []byte("is other"))
	return store
}

const captureName = "capture-1.pcapng.zst"

// putBundle stores is under a manifest that says was.
func putBundle(t testing.TB, store upload.Store, p upload.Place, was, is []byte) {
	t.Helper()
	sum := sha256.Sum256(was)
	hash := hex.EncodeToString(sum[:])
	window := upload.Window{Asked: rotate.Span{From: day, To: day.Add(time.Minute)}, Complete: true}
	window.Coverage.Packets = 7
	m := upload.Manifest{
		Version: upload.ManifestVersion, Incident: p.Incident, Cluster: p.Cluster, Node: p.Node, Created: day.Add(time.Hour), Window: window,
		Triggers: []trigger.Trigger{{ID: p.Incident, Reason: "reset", At: day, Received: day}},
		Objects: []upload.ObjectFacts{{Name: captureName, Kind: upload.KindCapture, Type: "application/zstd", Compression: upload.CompressionZstd,
			Bytes: int64(len(was)), SHA256: hash, PlainBytes: 1, PlainSHA256: hash}},
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), p.Prefix()+captureName, bytes.NewReader(is), upload.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := store.PutNew(t.Context(), p.Prefix()+upload.ManifestName, text, upload.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// linking is a store that gives links, as S3 does, or an error.
type linking struct {
	upload.Store
	err error
}

func (l linking) Link(_ context.Context, key string, ttl time.Duration) (string, error) {
	return "https://s3.example/" + key + "?X-Amz-Expires=" + ttl.String() + "&X-Amz-Signature=s3cr3t", l.err
}

// Tokens of the tests: one for each scope, one with all, one that expired.
const (
	triggerToken = "trigger-0123456789abcdef"
	readToken    = "read-0123456789abcdef"
	packetsToken = "packets-0123456789abcdef"
	allToken     = "all-0123456789abcdef"
	expiredToken = "expired-0123456789abcdef"
	wrongToken   = "wrong-0123456789abcdef"
)

func testTokens(t testing.TB) *kept[tokens] {
	t.Helper()
	text := `
- {name: trigger, token: ` + triggerToken + `, scopes: [trigger]}
- {name: read, token: ` + readToken + `, scopes: [read], expires: 2199-01-01T00:00:00Z}
- {name: packets, token: ` + packetsToken + `, scopes: [packets]}
- {name: all, token: ` + allToken + `, scopes: [trigger, read, packets]}
- {name: expired, token: ` + expiredToken + `, scopes: [trigger, read, packets], expires: 2026-01-01T00:00:00Z}
`
	k, err := keep(&kept[tokens]{what: "tokens", files: []string{"tokens.yaml"}, same: sameTokens, log: zap.NewNop(), read: func() (tokens, error) {
		list, err := parseTokens("tokens.yaml", []byte(text))
		for i := range list {
			list[i].triggers = newLimiter(1000)
		}
		return list, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// decode reads the JSON of an answer with that status.
func decode[T any](t *testing.T, w *httptest.ResponseRecorder, status int) (v T) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != status || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %q of type %q (%v), want %d and JSON", w.Code, w.Body, w.Header().Get("Content-Type"), err, status)
	}
	return v
}

// pathOf fills in a route's wildcards.
func pathOf(r route) string {
	return strings.NewReplacer("{id}", incidentID, "{name}", upload.ManifestName).Replace(r.path)
}

// events is a timeline.
var events = []hoststate.Event{
	{Seq: 1, Time: day, Kind: "unit.restart", Source: "units", Subject: "systemd-networkd.service", Text: "systemd-networkd.service was restarted"},
	{Seq: 2, Time: day.Add(15 * time.Millisecond), Kind: "conntrack.burst", Source: "conntrack", Subject: "kernel", Text: "40 flows lost their entries"},
	{Seq: 3, Time: day.Add(time.Second), Kind: "observation", Source: "api", Subject: "orders-db", Text: "time-out"},
}

// bodyOf is what a request to a route needs in its body.
func bodyOf(path string) string {
	switch path {
	case "/v1/alertmanager":
		return `{"version": "4", "alerts": []}`
	case "/v1/observations":
		return `{"what": "time-out"}`
	}
	return ""
}

// requestOf is a request that the route answers, with the body that bodyOf returns.
func requestOf(r route) (method, target string) {
	target = pathOf(r)
	if r.path == "/v1/incidents/{id}/files/{name}" {
		target += "?node=n1"
	}
	if r.method == http.MethodPost {
		return http.MethodPost, target
	}
	return http.MethodGet, target
}
