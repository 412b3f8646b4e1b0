package s3server

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// program is the server's executable, open and without a name, so that nothing is left when the process ends, however.
var program = sync.OnceValues(func() (*os.File, error) {
	dir, err := os.MkdirTemp("", "ringside-s3server")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s3server")
	cmd := exec.Command("go", "build", "-o", path, "github.com/ringside/ringside/test/cmd/s3server")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the S3 server, in a folder of the module test: %w\n%s", err, out)
	}
	return os.Open(path)
})

// binary builds the server once a process and returns a path to run.
func binary() (string, error) {
	f, err := program()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()), nil
}
