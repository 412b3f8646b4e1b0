package late

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state")
		f, old := Open(dir, "a")
		if old != nil {
			t.Errorf("nothing was written, and it says %q", old)
		}
		says := func() string { data, _ := os.ReadFile(dir + "/a.json"); return string(data) }
		now, text := time.Now(), "1"
		next := func() []byte { return []byte(text) }
		f.Tick(now, next)
		text = "2" // becomes true only now
		f.Tick(now.Add(Settle-1), next)
		if s := says(); s != "" {
			t.Errorf("written too early: %q", s)
		}
		f.Tick(now.Add(Settle), next)
		if s := says(); s != "1" {
			t.Errorf("it says %q, want what was true then", s)
		}
		f.Flush([]byte("3"))
		f.Tick(now.Add(time.Hour), func() []byte { return nil })
		if _, old := Open(dir, "a"); string(old) != "3" || says() != "3" || f.Err() != nil {
			t.Errorf("it says %q, %v", old, f.Err())
		}
	})
}

func TestNowhere(t *testing.T) {
	f, old := Open("", "a")
	f.Tick(time.Now(), func() []byte { t.Error("asked for what is not kept"); return nil })
	f.Flush([]byte("1"))
	if old != nil || f.Err() != nil {
		t.Errorf("%q %v", old, f.Err())
	}
}

func TestCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := Open(path, "a") // a file where the directory should be
	if f.Flush([]byte("1")); f.Err() == nil {
		t.Error("no error")
	}
}
