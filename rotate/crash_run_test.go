//go:build !failpoint

package rotate

import (
	"os/exec"
	"testing"
)

// The failpoints are compiled in only with their build tag: this runs the tests that need them.
func TestCrashes(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is missing, and with it failpoints")
	}
	if out, err := exec.Command("go", "test", "-tags", "failpoint", "-run", "^TestCrash$", ".").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
