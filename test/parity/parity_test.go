package parity

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// few is what is compared unless RINGSIDE_PROOFS=1 asks for everything: loss, an outage, a flush, a server without memory.
var few = []string{"d03-loss2", "d05-path-outage5s", "a01-flush-masq-loose1", "d12-server-reboot"}

func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (apt-get install %s)", tool, tool)
		}
	}
}

// TestCaptures compares every interface of the captures of detect/testdata by itself.
func TestCaptures(t *testing.T) {
	need(t, "tshark")
	const dir = "../../detect/testdata/captures"
	paths := make([]string, 0, len(few))
	for _, name := range few {
		paths = append(paths, filepath.Join(dir, name+".pcapng.zst"))
	}
	if os.Getenv("RINGSIDE_PROOFS") != "" {
		var err error
		if paths, err = filepath.Glob(filepath.Join(dir, "*.pcapng.zst")); err != nil || len(paths) == 0 {
			t.Fatalf("no captures in %s: %v", dir, err)
		}
	}
	all := make(scores, len(compared))
	for _, path := range paths {
		for _, v := range shared(t, path) {
			all.compare(t, v)
		}
	}
	all.judge(t, "tcp.analysis.retransmission", "tcp.flags.reset")
}
