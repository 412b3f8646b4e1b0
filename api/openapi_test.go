package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"
)

// spec is what the test reads of openapi.yaml.
type spec struct {
	Paths      map[string]map[string]operation
	Components struct{ Responses map[string]response }
}

type operation struct {
	Parameters []struct{ Name, In string }
	Responses  map[string]response
}

type response struct {
	Ref     string `yaml:"$ref"`
	Headers map[string]any
	Content map[string]any
}

func readSpec(t *testing.T) spec {
	t.Helper()
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var s spec
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&s); err != nil {
		t.Fatal(err)
	}
	for _, path := range s.Paths {
		for _, op := range path {
			for status, r := range op.Responses {
				if name, ok := strings.CutPrefix(r.Ref, "#/components/responses/"); ok {
					if r, ok = s.Components.Responses[name]; !ok {
						t.Fatalf("no response %s", name)
					}
					op.Responses[status] = r
				}
			}
		}
	}
	return s
}

// TestOpenAPI holds openapi.yaml against the handlers, both ways: every path is served and described, every answer that
// a handler gives is described, and every one that is described is given here.
func TestOpenAPI(t *testing.T) {
	s := readSpec(t)
	f := newFake()
	var served, described []string
	for _, r := range routes(f.sources(), newPackets(f.sources(), zap.NewNop()), everything) {
		served = append(served, r.path)
	}
	for path, methods := range s.Paths {
		described = append(described, path)
		if len(methods) != 1 || methods["get"].Responses == nil {
			t.Errorf("%s describes %d methods, want get alone", path, len(methods))
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Fatalf("served %v, described %v", served, described)
	}
	given := map[string]bool{} // path, status and type
	for _, c := range answers() {
		check(t, s, c, given)
	}
	for path, methods := range s.Paths {
		for status, r := range methods["get"].Responses {
			for kind := range r.Content {
				if key := path + " " + status + " " + kind; !given[key] {
					t.Errorf("%s is described and no handler gave it", key)
				}
			}
		}
	}
}

func check(t *testing.T, s spec, c answer, given map[string]bool) {
	w := c.get()
	path, query, _ := strings.Cut(c.target, "?")
	kind, _, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil {
		t.Errorf("%s: %v", c.target, err)
	}
	op := s.Paths[path]["get"]
	r := op.Responses[strconv.Itoa(w.Code)]
	if _, ok := r.Content[kind]; !ok {
		t.Errorf("%s gives %d %s, which is not described", c.target, w.Code, kind)
	}
	for name := range r.Headers {
		if w.Header().Get(name) == "" {
			t.Errorf("%s: %d without the header %s, which is described", c.target, w.Code, name)
		}
	}
	for _, pair := range strings.Split(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if name != "" && !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.Name == name && p.In == "query" }) {
			t.Errorf("%s: parameter %s is not described", path, name)
		}
	}
	given[path+" "+strconv.Itoa(w.Code)+" "+kind] = true
}

// answer is a request and the state it meets.
type answer struct {
	target string
	method string
	host   string
	access access
	state  func(*fake)
}

func (c answer) get() *httptest.ResponseRecorder {
	f := newFake()
	f.write = func(w io.Writer) (int64, error) { n, err := w.Write([]byte("packets")); return int64(n), err }
	if c.state != nil {
		c.state(f)
	}
	p := newPackets(f.sources(), zap.NewNop())
	if f.coverage.Packets == busy {
		for range maxStreams {
			p.streams <- struct{}{}
		}
	}
	req := httptest.NewRequest(c.method, c.target, nil)
	req.Host = c.host
	w := httptest.NewRecorder()
	harden(checkHost("127.0.0.1:9409", newHandler(f.sources(), p, c.access))).ServeHTTP(w, req)
	return w
}

const busy = 1 << 40 // packets: a mark that all streams are taken

func answers() []answer {
	const get, post, self, evil = http.MethodGet, http.MethodPost, "localhost", "evil.example"
	all, none := everything, access{}
	notReady := func(f *fake) { f.report.Ready = false }
	list := []answer{
		{"/readyz?verbose", get, self, all, nil},
		{"/readyz?format=json", get, self, all, nil},
		{"/readyz", get, self, all, notReady},
		{"/readyz?format=json", get, self, all, notReady},
		{"/metrics", get, self, none, nil},
		{"/v1/packets?from=-1m&to=now", get, self, all, nil},
		{"/v1/packets?from=x", get, self, all, nil},
		{"/v1/packets", get, self, none, nil},
		{"/v1/packets", get, self, all, func(f *fake) { f.coverage.Rings = nil }},
		{"/v1/packets", get, self, all, func(f *fake) { f.openErr = errors.New("input/output error") }},
		{"/v1/packets", get, self, all, func(f *fake) { f.coverage.Packets = busy }},
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/packets"} {
		list = append(list,
			answer{path, get, self, all, nil}, answer{path, post, self, all, nil}, answer{path, get, evil, all, nil})
	}
	return list
}
