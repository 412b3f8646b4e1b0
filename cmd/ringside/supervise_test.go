package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// part makes a stage that takes a while to stop and then writes its name to ended.
func part(name string, takes time.Duration, ended *[]string) stage {
	return stage{name: name, vital: true, run: func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(takes)
		*ended = append(*ended, name)
		return nil
	}}
}

// failing makes a stage that fails by itself.
func failing(name string, vital bool, after time.Duration, err error) stage {
	return stage{name: name, vital: vital, run: func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(after):
			return err
		}
	}}
}

func TestDrainOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []string
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		err := supervise(ctx, 20*time.Second, zap.NewNop(), []stage{
			part("spool", 3*time.Second, &ended), part("capture", 2*time.Second, &ended), part("api", time.Second, &ended),
		})
		if err != nil || !slices.Equal(ended, []string{"api", "capture", "spool"}) {
			t.Errorf("%v, %v, want the last to stop first", ended, err)
		}
		if took := time.Since(start); took != time.Hour+6*time.Second {
			t.Errorf("took %v, want an hour and the 6 s of three stages one after the other", took)
		}
	})
}

func TestDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []string
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		err := supervise(ctx, 20*time.Second, zap.NewNop(), []stage{
			part("spool", 15*time.Second, &ended), part("capture", 15*time.Second, &ended),
		})
		if err == nil || !strings.Contains(err.Error(), "spool did not finish within shutdown_timeout (20s)") {
			t.Errorf("error %v, want one that names the part and the key", err)
		}
		if took := time.Since(start); took != 20*time.Second {
			t.Errorf("took %v, want 20 s", took)
		}
		time.Sleep(time.Minute) // for the stage to end inside the bubble
	})
}

// TestVitalPartFails drains the rest and returns why.
func TestVitalPartFails(t *testing.T) {
	broken := errors.New("netlink is gone")
	for name, err := range map[string]error{"with an error": broken, "silently": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ended []string
				got := supervise(t.Context(), 20*time.Second, zap.NewNop(), []stage{
					part("spool", time.Second, &ended), failing("capture", true, time.Minute, err), part("api", time.Second, &ended),
				})
				if got == nil || !strings.HasPrefix(got.Error(), "capture") || !errors.Is(got, err) && err != nil {
					t.Errorf("error %v, want capture's", got)
				}
				if !slices.Equal(ended, []string{"api", "spool"}) {
					t.Errorf("stopped %v, want api and spool", ended)
				}
			})
		})
	}
}

// TestOtherPartFails goes on recording and logs it.
func TestOtherPartFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		var ended []string
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		err := supervise(ctx, 20*time.Second, zap.New(core), []stage{
			part("spool", 0, &ended), failing("api", false, time.Second, errors.New("too many open files")),
		})
		if err != nil || time.Since(start) != time.Hour || !slices.Equal(ended, []string{"spool"}) {
			t.Errorf("%v after %v, stopped %v: want an hour of recording and no error", err, time.Since(start), ended)
		}
		if n := logs.FilterMessage("a part failed; recording goes on without it").Len(); n != 1 {
			t.Errorf("%d log lines of the failure, want 1", n)
		}
	})
}
