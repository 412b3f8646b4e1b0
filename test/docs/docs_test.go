package docs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/scene"

	settings "github.com/ringside/ringside/config"
)

func TestMain(m *testing.M) { ringside.Main(m) }

// pages are what is run, with the blocks of shell that each has at least.
var pages = map[string]int{"install": 6, "triggers": 9, "store": 4, "timeline": 1, "validate": 3, "watchers": 1}

// TestPages types what the pages say. The first command that fails, fails the test.
func TestPages(t *testing.T) {
	for name, blocks := range pages {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they mostly wait
			p, err := read("../../docs/" + name + ".md")
			if err != nil {
				t.Fatal(err)
			}
			if p.blocks < blocks {
				t.Errorf("%d blocks of shell, want at least %d", p.blocks, blocks)
			}
			s := setting(t)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			out, err := s.Output(ctx, p.script)
			if err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
			t.Log(out)
		})
	}
}

// TestConfigs loads every configuration that the pages show.
func TestConfigs(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, file := range append(files, "../../README.md") {
		p, err := read(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.configs {
			count++
			text := c.text
			if strings.Contains(text, "notify:") { // alone it is shown without a store
				text += "  to: file:///var/lib/ringside/incidents\n"
			}
			path := filepath.Join(t.TempDir(), "ringside.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := settings.Load(path); err != nil {
				t.Errorf("%s:%d: %v", file, c.line, err)
			}
		}
	}
	if count < 6 {
		t.Errorf("%d configurations, want at least 6", count)
	}
}

// setting is a scene with the program in its PATH.
func setting(t *testing.T) *scene.Scene {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	for _, tool := range []string{"redis-server", "redis-cli", "tshark", "tcpdump", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: run .ci/tools", tool)
		}
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
