package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringside/ringside/upload"
)

const captureFile = "/v1/incidents/" + incidentID + "/files/" + captureName + "?node=n1"

func TestFiles(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	f := newFake()
	f.store = newStore(t)
	s := f.server(zap.New(core))
	h := s.handler(s.newGuard(doorSocket, ""))
	etag := `"` + captureSHA256 + `"`
	n, last := len(capture), fmt.Sprint(len(capture)-1)
	for _, c := range []struct {
		header   []string
		status   int
		from, to int // of the bytes
		ranged   string
	}{
		{nil, 200, 0, n, ""},
		{[]string{"Range", "bytes=0-"}, 206, 0, n, "bytes 0-" + last + "/160000"},
		{[]string{"Range", "bytes=0-0"}, 206, 0, 1, "bytes 0-0/160000"},
		{[]string{"Range", "bytes=100000-100009"}, 206, 100000, 100010, "bytes 100000-100009/160000"},
		{[]string{"Range", "bytes=159999-999999999"}, 206, n - 1, n, "bytes 159999-159999/160000"},
		{[]string{"Range", "bytes=-10"}, 206, n - 10, n, "bytes 159990-" + last + "/160000"},
		{[]string{"Range", "bytes=-9999999"}, 206, 0, n, "bytes 0-" + last + "/160000"},
		{[]string{"Range", "bytes=5-10", "If-Range", etag}, 206, 5, 11, "bytes 5-10/160000"},
		{[]string{"Range", "bytes=5-10", "If-Range", `"other"`}, 200, 0, n, ""},
		{[]string{"Range", "bytes=0-1,5-6"}, 200, 0, n, ""},
		{[]string{"Range", "bytes=6-5"}, 200, 0, n, ""},
		{[]string{"Range", "bytes=x-"}, 200, 0, n, ""},
		{[]string{"Range", "bytes=--5"}, 200, 0, n, ""},
		{[]string{"Range", "bytes=5"}, 200, 0, n, ""},
		{[]string{"Range", "packets=0-5"}, 200, 0, n, ""},
		{[]string{"Range", "bytes=99999999999999999999-"}, 200, 0, n, ""},
		{[]string{"If-None-Match", etag}, 304, 0, 0, ""},
		{[]string{"If-None-Match", `"other"`}, 200, 0, n, ""},
	} {
		w := get(h, captureFile, c.header...)
		if w.Code != c.status || !bytes.Equal(w.Body.Bytes(), capture[c.from:c.to]) || w.Header().Get("Content-Range") != c.ranged || w.Header().Get("ETag") != etag {
			t.Errorf("%v: %d, %d bytes, %v", c.header, w.Code, w.Body.Len(), w.Header())
		}
		if got := w.Header().Get("Content-Length"); c.status != 304 && got != fmt.Sprint(c.to-c.from) {
			t.Errorf("%v: Content-Length %s", c.header, got)
		}
		lines := logs.TakeAll()
		if c.status == 304 {
			if len(lines) != 0 {
				t.Errorf("nothing was handed out, and logged as %v", lines)
			}
			continue
		}
		if len(lines) != 1 || lines[0].LoggerName != "audit" {
			t.Fatalf("%v: logged %v, want one line of audit", c.header, lines)
		}
		fields := lines[0].ContextMap()
		for key, want := range map[string]any{"what": "file", "incident": incidentID, "node": "n1", "file": captureName, "bytes": int64(c.to - c.from), "client": "unknown"} {
			if fields[key] != want {
				t.Errorf("audit: %s is %v, want %v", key, fields[key], want)
			}
		}
	}
	for _, ask := range []string{"bytes=160000-", "bytes=160000-160001", "bytes=-0"} {
		w := get(h, captureFile, "Range", ask)
		if w.Code != 416 || w.Header().Get("Content-Range") != "bytes */160000" || detail(t, w) == "" {
			t.Errorf("%s: %d %v", ask, w.Code, w.Header())
		}
	}
	if w := send(h, http.MethodHead, captureFile, "", "Range", "bytes=0-5"); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "160000" || logs.Len() != 0 {
		t.Errorf("HEAD: %d, %d bytes, %v, %d log lines", w.Code, w.Body.Len(), w.Header(), logs.Len())
	}
}

func TestManifestFile(t *testing.T) {
	f := newFake()
	f.store = newStore(t)
	body, _, err := f.store.Get(t.Context(), upload.Place{Cluster: "c", Incident: incidentID, Node: "n2"}.Prefix()+upload.ManifestName, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	want, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	h := f.handler(doorSocket)
	target := "/v1/incidents/" + incidentID + "/files/manifest.json?node=n2"
	if w := get(h, target); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), want) || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := get(h, target, "Range", "bytes=2-5"); w.Code != 206 || w.Body.String() != string(want[2:6]) {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestNoFile(t *testing.T) {
	f := newFake()
	f.store = newStore(t)
	h := f.handler(doorSocket)
	base := "/v1/incidents/" + incidentID + "/files/"
	for target, want := range map[string]struct {
		status int
		text   string
	}{
		base + "manifest.json":                              {400, "add one of ?cluster=c&node=n1, ?cluster=c&node=n2"},
		base + "manifest.json?node=n3":                      {404, "no such bundle"},
		base + "manifest.json?node=n1&cluster=d":            {404, "no such bundle"},
		base + "other.pcapng?node=n1":                       {404, "the manifest names no other.pcapng"},
		base + "manifest.json?node=n1&stream=maybe":         {400, "stream: "},
		base + "manifest.json?node=n1&node=n2":              {400, "given twice"},
		"/v1/incidents/" + openID + "/files/" + captureName: {404, "no such bundle"},
	} {
		w := get(h, target)
		if d := detail(t, w); w.Code != want.status || !strings.Contains(d, want.text) {
			t.Errorf("%s: %d %q, want %d %q", target, w.Code, d, want.status, want.text)
		}
	}
}

// TestDamagedFiles never lets a file pass for whole that is not what its manifest says.
func TestDamagedFiles(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	f := newFake()
	f.store = newStore(t)
	long := bytes.Repeat([]byte("x"), 200_000)
	place := func(id string) upload.Place { return upload.Place{Cluster: "c", Incident: id, Node: "n1"} }
	const cut, gone, other = "20261120T030000.000000Z-00000003", "20261120T040000.000000Z-00000004", "20261120T050000.000000Z-00000005"
	putBundle(t, f.store, place(cut), long, long[:len(long)-1])
	putBundle(t, f.store, place(gone), long, long)
	if err := f.store.Delete(t.Context(), place(gone).Prefix()+captureName); err != nil {
		t.Fatal(err)
	}
	putBundle(t, f.store, place(other), long, append(long[:len(long)-1:len(long)-1], 'y'))
	s := f.server(zap.New(core))
	h := s.handler(s.newGuard(doorSocket, ""))
	file := func(id string) string { return "/v1/incidents/" + id + "/files/" + captureName }
	for id, want := range map[string]string{cut: "has 199999 bytes, the manifest says 200000", gone: "no such object"} {
		w := get(h, file(id))
		if d := detail(t, w); w.Code != 502 || !strings.Contains(d, want) || w.Header().Get("ETag") != "" {
			t.Errorf("%s: %d %q, want %q", id, w.Code, d, want)
		}
	}
	if logs.Len() != 0 {
		t.Errorf("nothing was handed out, and logged as %v", logs.All())
	}
	for id, most := range map[string]int{oldID: 0, other: 3 * pieceSize} {
		got := 0
		func() {
			defer func() {
				if r := recover(); r != http.ErrAbortHandler {
					t.Errorf("%s: the connection is not broken off: %v", id, r)
				}
			}()
			w := &countingWriter{n: &got}
			req, _ := http.NewRequest(http.MethodGet, file(id), nil)
			h.ServeHTTP(w, req)
		}()
		lines := logs.TakeAll()
		if got != most || len(lines) != 1 || lines[0].ContextMap()["bytes"] != int64(most) || !strings.Contains(lines[0].ContextMap()["error"].(string), "SHA-256 is not the manifest's") {
			t.Errorf("%s: %d bytes were sent, want %d; logged %v", id, got, most, lines)
		}
	}
	var aborted uint64
	for _, r := range s.Stats().Requests {
		if r.Class == "aborted" {
			aborted += r.Count
		}
	}
	if aborted != 2 {
		t.Errorf("%d answers counted as aborted, want 2", aborted)
	}
}

type countingWriter struct {
	header http.Header
	n      *int
}

func (w *countingWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}
func (w *countingWriter) WriteHeader(int)             {}
func (w *countingWriter) Write(p []byte) (int, error) { *w.n += len(p); return len(p), nil }

// TestRedirect sends to where a file is stored, logs that, and keeps the link out of the log.
func TestRedirect(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	f := newFake()
	store := newStore(t)
	f.store = linking{store, nil}
	s := f.server(zap.New(core))
	h := s.handler(s.newGuard(doorSocket, ""))
	w := get(h, captureFile)
	want := "https://s3.example/" + upload.Place{Cluster: "c", Incident: incidentID, Node: "n1"}.Prefix() + captureName + "?X-Amz-Expires=5m0s&X-Amz-Signature=s3cr3t"
	if w.Code != 307 || w.Header().Get("Location") != want || w.Body.Len() != 0 {
		t.Errorf("%d to %s", w.Code, w.Header().Get("Location"))
	}
	lines := logs.TakeAll()
	if len(lines) != 1 || lines[0].LoggerName != "audit" || lines[0].ContextMap()["what"] != "redirect" || strings.Contains(fmt.Sprint(lines), "s3cr3t") {
		t.Errorf("logged %v", lines)
	}
	if w := get(h, captureFile+"&stream=1"); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), capture) {
		t.Errorf("stream: %d, %d bytes", w.Code, w.Body.Len())
	}
	if w := get(h, "/v1/incidents/"+incidentID+"/files/manifest.json?node=n1"); w.Code != 200 {
		t.Errorf("manifest: %d", w.Code)
	}
	f.store = linking{store, errors.New("no credentials")}
	if w := get(h, captureFile); w.Code != 502 || !strings.Contains(detail(t, w), "no credentials") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestFileStreams: files and windows share the places there are for streams.
func TestFileStreams(t *testing.T) {
	f := newFake()
	f.store = newStore(t)
	s := f.server(zap.NewNop())
	h := s.handler(s.newGuard(doorSocket, ""))
	for range maxStreams {
		s.streams <- struct{}{}
	}
	if w := get(h, captureFile); w.Code != 503 || w.Header().Get("Retry-After") != "5" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	<-s.streams
	for range 2 * maxStreams {
		if w := get(h, captureFile); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
}

// TestShortStore breaks off when the store ends early, and when time is up.
func TestShortStore(t *testing.T) {
	f := file{name: "x", size: 10, sha256: "x"}
	if n, err := f.copy(io.Discard, strings.NewReader("12345"), piece{0, 10, 200}); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d, %v", n, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	out := newPatientWriter(ctx, &countingWriter{n: new(int)})
	if n, err := f.copy(out, strings.NewReader("1234567890"), piece{0, 9, 206}); n != 0 || !errors.Is(err, context.DeadlineExceeded) || out.err == nil {
		t.Errorf("%d, %v", n, err)
	}
}
