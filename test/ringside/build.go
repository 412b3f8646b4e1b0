package ringside

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// builder builds each variant of the binary at most once, into one directory.
type builder struct {
	mu    sync.Mutex
	dir   string
	built map[string]error // by build tag
}

var shared builder

// Main is the TestMain of a package of proofs: it removes what Binary has built and fails when goroutines are left.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if shared.dir != "" {
			os.RemoveAll(shared.dir)
		}
		os.Exit(code)
	}))
}

// Binary returns the path of the program, built with a build tag ("" for what users get). The package's TestMain must
// be Main.
func Binary(t testing.TB, tag string) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.dir == "" {
		dir, err := os.MkdirTemp("", "ringside-proofs")
		if err != nil {
			t.Fatal(err)
		}
		shared.dir, shared.built = dir, make(map[string]error)
	}
	path := filepath.Join(shared.dir, "ringside"+tag)
	if _, done := shared.built[tag]; !done {
		shared.built[tag] = Build(path, tag)
	}
	if err := shared.built[tag]; err != nil {
		t.Fatal(err)
	}
	return path
}

// Build builds the program of the module that this one lies in to path, without cgo as it is shipped.
func Build(path, tag string) error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/ringside/ringside").Output()
	if err != nil {
		return fmt.Errorf("find the module of the program: %w", err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-tags", tag, "-o", path, "./cmd/ringside")
	cmd.Dir = string(root[:len(root)-1])
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return nil
}
