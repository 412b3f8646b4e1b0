package config

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// change is one call of changed.
type change struct {
	level   string // of the log, to tell configurations apart; "" after an error
	version string
	err     error
}

// watching watches path and returns what changed is called with.
func watching(t *testing.T, path, version string) (changes chan change, now chan os.Signal) {
	t.Helper()
	changes, now = make(chan change, 100), make(chan os.Signal)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Watch(ctx, path, version, now, func(c *Config, version string, err error) {
			if err != nil {
				changes <- change{"", version, err}
				return
			}
			changes <- change{c.Log.Level, version, nil}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for len(changes) > 0 {
			t.Errorf("one change too many: %+v", <-changes)
		}
		goleak.VerifyNone(t)
	})
	return changes, now
}

// expect waits for the next change and fails unless it brings the level, or an error that says so.
func expect(t *testing.T, changes chan change, level, wrong string) change {
	t.Helper()
	select {
	case c := <-changes:
		if c.level != level || (c.err != nil) != (wrong != "") || c.err != nil && !strings.Contains(c.err.Error(), wrong) {
			t.Fatalf("change %+v, want level %q, error %q", c, level, wrong)
		}
		return c
	case <-time.After(30 * time.Second):
		t.Fatalf("no change in 30 s, want level %q, error %q", level, wrong)
	}
	return change{}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// configMap writes text as the kubelet does: into a new directory, to which ..data is then renamed over.
func configMap(t *testing.T, dir, name, text string) {
	t.Helper()
	must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	write(t, filepath.Join(dir, name, "config.yaml"), text)
	must(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
	old, _ := os.Readlink(filepath.Join(dir, "..data"))
	must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	if old != "" {
		must(t, os.RemoveAll(filepath.Join(dir, old)))
	}
}

const (
	infoText  = "log: {level: info}\n"
	debugText = "log: {level: debug}\n"
	warnText  = "log: {level: warn}\n"
	badText   = "log: {level: loud}\n"
)

func TestWatchConfigMap(t *testing.T) {
	dir := t.TempDir()
	configMap(t, dir, "..1", infoText)
	path := filepath.Join(dir, "config.yaml")
	must(t, os.Symlink("..data/config.yaml", path))
	_, version, err := LoadVersion(path)
	must(t, err)
	changes, now := watching(t, path, version)
	configMap(t, dir, "..2", debugText)
	expect(t, changes, "debug", "")
	configMap(t, dir, "..3", badText)
	if c := expect(t, changes, "", "log.level"); c.version == "" || c.version == version {
		t.Errorf("version %q of a bad file", c.version)
	}
	configMap(t, dir, "..4", infoText)
	if c := expect(t, changes, "info", ""); c.version != version {
		t.Errorf("version %q, want that of the beginning, %q", c.version, version)
	}
	configMap(t, dir, "..5", infoText) // nothing new
	now <- syscall.SIGHUP              // but asked for
	expect(t, changes, "info", "")
}

func TestWatchEditors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc", "ringside")
	must(t, os.MkdirAll(dir, 0o755))
	path := filepath.Join(dir, "config.yaml")
	write(t, path, infoText)
	changes, _ := watching(t, path, versionOf([]byte(infoText)))
	write(t, path, debugText) // in place
	expect(t, changes, "debug", "")
	write(t, path+".new", warnText)
	must(t, os.Rename(path+".new", path))
	expect(t, changes, "warn", "")
	write(t, path, "")
	expect(t, changes, "", "the file is empty")
	must(t, os.Remove(path))
	if c := expect(t, changes, "", "there is no such file"); c.version != "" {
		t.Errorf("version %q of a file that is not there", c.version)
	}
	write(t, path, warnText) // as before it vanished
	expect(t, changes, "warn", "")
	must(t, os.Rename(dir, dir+".old")) // the directory is replaced, with a pause
	expect(t, changes, "", "there is no such file")
	must(t, os.Mkdir(dir, 0o755))
	write(t, path, debugText)
	expect(t, changes, "debug", "")
	must(t, os.RemoveAll(filepath.Dir(dir)))
	expect(t, changes, "", "there is no such file")
	must(t, os.MkdirAll(dir, 0o755))
	write(t, path, infoText)
	expect(t, changes, "info", "")
}

// What changed between loading and watching is not missed.
func TestWatchFromAnOlderVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	write(t, path, debugText)
	changes, _ := watching(t, path, versionOf([]byte(infoText)))
	expect(t, changes, "debug", "")
}
