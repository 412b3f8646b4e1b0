package rotate

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/pcapng"
)

// The wall clock is set back and forth while recording. Packets that bear the same time are all found.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{-5 * time.Second, 3 * time.Hour} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := config(t.TempDir())
				r, _, clock, _ := faultyRecording(t, cfg)
				r.send(10)
				clock.step.Add(int64(step))
				r.to["eth0"] += int64(step)
				r.send(10)
				clock.step.Add(int64(50 * time.Millisecond)) // a correction that is no step
				r.send(1)
				if st := r.Stats(); st.ClockSteps != 1 || st.Segments != 2 {
					t.Errorf("%d clock steps and %d segments, want 1 and 2", st.ClockSteps, st.Segments)
				}
				lo, hi := at(-10), at(21).Add(max(step, 0))
				c, _ := window(t, r, lo, hi)
				slices.Sort(c.numbers)
				if !slices.Equal(c.numbers, numbers(0, 210)) {
					t.Errorf("%d packets, want all 210", len(c.numbers))
				}
				if len(c.notes) == 0 || c.notes[0].Kind != pcapng.NoteClock || c.notes[0].Step != int64(step) {
					t.Errorf("notes %v, want the step by %v", c.notes, step)
				}
				if step < 0 { // seconds 6 to 9 were lived twice
					if c, _ := window(t, r, at(6), at(9)); len(c.numbers) != 60 {
						t.Errorf("%d packets in seconds that came twice, want 60", len(c.numbers))
					}
				}
			})
		})
	}
}

// A clock set while the recorder was not running is noted when it starts again.
func TestClockStepWhileStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		r, _, _, _ := faultyRecording(t, cfg)
		r.send(10)
		r.stop()
		s := &Spool{}
		clock := newSteppable()
		clock.step.Add(int64(-time.Hour))
		must(t, s.start(cfg, zap.NewNop(), osDisk{&s.direct}, clock))
		r2 := run(t, s)
		r2.to["eth0"] = second - int64(time.Hour)
		r2.send(1)
		c, _ := window(t, r2, at(-4000), at(1))
		var kinds []string
		for _, n := range c.notes {
			kinds = append(kinds, n.Kind)
		}
		if !slices.Equal(kinds, []string{pcapng.NoteGap, pcapng.NoteClock}) || c.notes[1].Step != int64(-time.Hour) {
			t.Errorf("notes %v, want gap and step", c.notes)
		}
		if n := s.Stats().ClockSteps; n != 1 {
			t.Errorf("%d clock steps, want 1", n)
		}
	})
}
