package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/ringside/ringside/test/ringside"
)

var update = flag.Bool("update", false, "write the demo's output into README.md")

func TestMain(m *testing.M) { ringside.Main(m) }

const readme = "../../README.md"

var transcript = regexp.MustCompile("(?s)`make demo`:\n\n```\n(.*?)```\n")

// TestTranscript runs the demo and holds the README against what it prints, ids, times, sizes and counts aside.
func TestTranscript(t *testing.T) {
	needs(t)
	var out, progress bytes.Buffer
	if err := run(t.Context(), &out, &progress); err != nil {
		t.Fatalf("%v\n%s%s", err, &progress, &out)
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		text = transcript.ReplaceAllLiteral(text, []byte("`make demo`:\n\n```\n"+out.String()+"```\n"))
		if err := os.WriteFile(readme, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := transcript.FindSubmatch(text)
	if m == nil {
		t.Fatal("the README has no transcript of make demo")
	}
	if got, want := normal(out.String()), normal(string(m[1])); got != want {
		t.Errorf("make demo prints\n%s\nthe README has\n%s", got, want)
	}
}

// TestInterrupted ends the demo while it records, as ctrl-c does: nothing of it is left.
func TestInterrupted(t *testing.T) {
	needs(t)
	dir := ringside.Dir(t)
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	progress := cancelAt{cancel: cancel}
	if err := run(ctx, &bytes.Buffer{}, &progress); err == nil {
		t.Error("the demo ran to its end")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// cancelAt calls cancel when the recorder runs.
type cancelAt struct{ cancel func() }

func (c *cancelAt) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("recording")) {
		c.cancel()
	}
	return len(p), nil
}

func needs(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	for _, tool := range []string{"redis-server", "redis-cli", "tshark", "tcpdump", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: run .ci/tools", tool)
		}
	}
}

// normal replaces what differs from run to run.
func normal(text string) string {
	for _, r := range []struct{ pattern, with string }{
		{`\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}`, "ID"},
		{`\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?`, "TIME"},
		{`the window ends in \d+s`, "the window ends in DURATION"},
		{`(?m)^(ID +node-1 .* 8s) +\d+ `, "$1 COUNT "},
		{`(?m)^storing it\n`, ""}, // not seen if it is stored at once
		{`[\d.]+ [KM]iB`, "SIZE"},
		{`(?m)^ +\d+ [\d.]+ .*$`, "PACKET"},
		{` +`, " "},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
	}
	return strings.TrimSpace(text)
}
