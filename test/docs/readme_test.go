package docs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/test/scene"
	"github.com/ringside/ringside/upload"
)

// TestReadme does what a person does who has nothing but the README and a bucket: in a fresh copy of the sources, it types
// the quick start, up to packets in S3 that are verified. The bucket's name is all that it changes.
func TestReadme(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	p, err := read("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	s := setting(t)
	if err := os.Remove(s.Bin("ringside")); err != nil { // the reader builds it
		t.Fatal(err)
	}
	copySources(t, s.Dir)
	goEnvironment(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	typing := time.Now()
	out, err := s.Output(ctx, strings.ReplaceAll(p.script, "my-evidence", s.S3.Bucket))
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(s.Dir, "ringside.log"))
		t.Fatalf("%v:\n%s\n%s", err, out, log)
	}
	t.Logf("from the README to a verified pcap from S3 in %v (the window ends 5 s after the trigger; %v with what the test sets up)",
		time.Since(typing).Round(time.Second), time.Since(begun).Round(time.Second))
	if stored, got := verified(t, s), packets(t, filepath.Join(s.Dir, "incident.pcapng")); got != stored || got == 0 {
		t.Errorf("%d packets were fetched, the manifest has %d", got, stored)
	}
}

// verified checks the only bundle in the bucket and returns how many packets it has.
func verified(t *testing.T, s *scene.Scene) int {
	t.Helper()
	store, err := upload.OpenStore(t.Context(), s.S3.Config("ringside"), nil)
	if err != nil {
		t.Fatal(err)
	}
	archive, count := upload.NewArchive(store), -1
	for b, err := range archive.List(t.Context(), upload.Query{}) {
		if err != nil || b.Problem != nil || count >= 0 {
			t.Fatalf("bundle %+v: %v; want one, without a problem", b, err)
		}
		if err := archive.Verify(t.Context(), b, nil); err != nil {
			t.Fatal(err)
		}
		count = int(b.Manifest.Window.Coverage.Packets)
	}
	return count
}

func packets(t *testing.T, file string) int {
	t.Helper()
	out, err := exec.Command("tshark", "-r", file, "-T", "fields", "-e", "frame.number").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(out), "\n")
}

// copySources copies the repository to dir without what git and builds leave in it.
func copySources(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	const list = "tar -C ../.. -c --exclude=./.git --exclude=./bin . | tar -C \"$0\" -x"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("bash", "-euo", "pipefail", "-c", list, dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the sources: %v\n%s", err, out)
	}
}

// goEnvironment lends the scene Go's caches: it has no network.
func goEnvironment(t *testing.T, s *scene.Scene) {
	t.Helper()
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Fields(string(out))
	s.Env = append(s.Env, "GOCACHE="+dirs[0], "GOMODCACHE="+dirs[1], "GOPROXY=off", "GOTOOLCHAIN=local")
}
