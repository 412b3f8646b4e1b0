package rotate

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Every limit but the directory changes while the spool records, and what is wrong changes nothing.
func TestReconfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		cfg.Every = time.Hour
		r, _, _, _ := faultyRecording(t, cfg)
		for range 20 {
			r.send(1)
			time.Sleep(time.Second)
		}
		if n := len(r.Segments()); n != 1 {
			t.Fatalf("%d segments, want 1", n)
		}
		next := cfg
		next.Dir, next.Every = "/elsewhere", 5*time.Second
		if got := cfg.NeedsRestart(next); !slices.Equal(got, []string{"rotate.dir"}) || cfg.NeedsRestart(cfg) != nil {
			t.Errorf("needs a restart for %v, want rotate.dir", got)
		}
		must(t, r.Reconfigure(next))
		if r.Dir() != cfg.Dir {
			t.Errorf("directory %s, want %s", r.Dir(), cfg.Dir)
		}
		for range 20 {
			r.send(1)
			time.Sleep(time.Second)
		}
		if n := len(r.Segments()); n < 4 || n > 6 {
			t.Fatalf("%d segments after 20 s of segments of 5 s, want about 5", n)
		}
		bad := next
		bad.Keep.Age = -1
		if err := r.Reconfigure(bad); err == nil || !strings.Contains(err.Error(), "rotate.keep.age") {
			t.Errorf("a bad age: %v", err)
		}
		next.Keep.Bytes = 64 << 20
		must(t, r.Reconfigure(next))
		if got := r.Stats().KeepBytes; got != 64<<20 {
			t.Errorf("budget %d, want %d", got, 64<<20)
		}
		next.Keep.Age = time.Second
		must(t, r.Reconfigure(next)) // not at the next tick, but now
		synctest.Wait()
		if n := len(r.Segments()); n > 2 {
			t.Errorf("%d segments after the age was lowered, want the newest two", n)
		}
	})
}

// A writer that waits for a limit of hours is woken when the limit is lifted.
func TestReconfigureWriteLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		cfg.WriteLimit = 1
		r, _, _, _ := faultyRecording(t, cfg)
		r.send(3)
		time.Sleep(time.Minute)
		if n := r.Stats().WrittenPackets; n != 0 {
			t.Fatalf("%d packets written at a byte a second", n)
		}
		cfg.WriteLimit = 0
		must(t, r.Reconfigure(cfg))
		synctest.Wait()
		if n := r.Stats().WrittenPackets; n != 30 {
			t.Errorf("%d packets written, want 30", n)
		}
	})
}
