package canary

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/scene"
	"github.com/ringside/ringside/upload"
)

// webhook refuses whatever it is sent, and repeats it in its answer.
type webhook struct {
	url      string
	requests chan string
}

func listen(t *testing.T, s *scene.Scene) *webhook {
	t.Helper()
	var l net.Listener
	if err := s.Node.Do(func() (err error) { l, err = net.Listen("tcp", "127.0.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	h := &webhook{url: "http://" + l.Addr().String(), requests: make(chan string, 100)}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		request := fmt.Sprintf("%s %v %s", r.URL, r.Header, body)
		http.Error(w, request, http.StatusInternalServerError)
		select {
		case h.requests <- request:
		default:
		}
	})}
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Close()
		done.Wait()
	})
	return h
}

// stored returns the objects in the bucket, captures as they were recorded.
func stored(t *testing.T, s *scene.Scene) map[string]string {
	t.Helper()
	store, err := upload.OpenStore(t.Context(), s.S3.Config("canary"), nil)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for o, err := range store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		body, _, err := store.Get(t.Context(), o.Key, 0)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(body)
		body.Close()
		if strings.HasSuffix(o.Key, ".zst") && err == nil {
			text, err = unpack(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		texts[o.Key] = string(text)
	}
	if keys := fmt.Sprint(texts); !strings.Contains(keys, "manifest.json") || len(texts) != 5 {
		t.Errorf("the store has %d objects, want a manifest, a capture, a timeline and two reports", len(texts))
	}
	return texts
}

func unpack(text []byte) ([]byte, error) {
	d, err := zstd.NewReader(nil)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(text, nil)
}

// files returns what lies below dir.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		texts[d.Name()] = string(text)
		return err
	})
	if err != nil || len(texts) == 0 {
		t.Fatalf("%d files in %s, %v", len(texts), dir, err)
	}
	return texts
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func get(t *testing.T, r *ringside.Recorder, path string) string {
	t.Helper()
	status, body, err := r.Get(path)
	if err != nil || status != http.StatusOK {
		t.Fatalf("GET %s: %d %s %v", path, status, body, err)
	}
	return body
}

// until asks until the answer has text.
func until(t *testing.T, r *ringside.Recorder, path, text string) {
	t.Helper()
	err := r.Until(time.Minute, "saying "+strings.TrimSpace(text), func() bool {
		_, body, err := r.Get(path)
		return err == nil && strings.Contains(body, text)
	})
	if err != nil {
		_, incidents, _ := r.Get("/v1/incidents?local")
		t.Fatalf("%v\n%s", err, incidents)
	}
}

func setting(t *testing.T) *scene.Scene {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	if i := slices.IndexFunc([]string{"redis-server", "redis-cli", "tcpdump", "curl"}, missing); i >= 0 {
		t.Skip("needs what .ci/tools installs")
	}
	s, err := scene.New(ringside.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := os.Symlink(ringside.Binary(t, ""), s.Bin("ringside")); err != nil {
		t.Fatal(err)
	}
	return s
}

func missing(tool string) bool {
	_, err := exec.LookPath(tool)
	return err != nil
}
