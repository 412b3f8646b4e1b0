package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/ringside/ringside/config"
)

// TestAuditIsAlwaysLogged holds that no level hides who took packets.
func TestAuditIsAlwaysLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	log, level := newLogger(config.Log{Level: "error", Format: "json"}, f)
	log.Info("hidden")
	log.Named("audit").With(zap.String("who", "me")).Info("handed out")
	level.SetLevel(zap.InfoLevel)
	log.Info("shown")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]int{"hidden": 0, "handed out": 1, `"who":"me"`: 1, "shown": 1} {
		if got := strings.Count(string(text), word); got != want {
			t.Errorf("%q is in the log %d times, want %d:\n%s", word, got, want, text)
		}
	}
}
