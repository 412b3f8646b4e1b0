package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// stage is one part of the daemon. Its run returns when its context is done and it has finished its work.
type stage struct {
	name  string
	run   func(context.Context) error
	vital bool // without it nothing is recorded, so its end ends the process
}

// errUnfinished means that a stage was still at work when the time to stop was over.
var errUnfinished = errors.New("did not finish within shutdown_timeout")

// running is a stage under way.
type running struct {
	stage
	stop context.CancelFunc
	err  error
	done chan struct{} // closed when run has returned; err is then set
}

func (s stage) start() *running {
	ctx, stop := context.WithCancel(context.Background())
	r := &running{stage: s, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = s.run(ctx)
	}()
	return r
}

// supervise runs the stages until ctx is done or a vital one ends; then it stops them one after the other, the last
// first, and gives all of them together timeout. A stage that is not vital may fail: the rest goes on recording.
func supervise(ctx context.Context, timeout time.Duration, log *zap.Logger, stages []stage) error {
	var all []*running
	ctx, end := context.WithCancel(ctx)
	defer end()
	for _, s := range stages {
		r := s.start()
		all = append(all, r)
		go watch(ctx, r, end, log)
	}
	<-ctx.Done()
	deadline := time.After(timeout)
	var failed error
	for i := len(all) - 1; i >= 0; i-- {
		r := all[i]
		early := r.ended()
		r.stop()
		select {
		case <-r.done:
			failed = errors.Join(failed, r.failure(early))
		case <-deadline:
			return errors.Join(failed, fmt.Errorf("%s %w (%v): the next start seals what it left open; "+
				"raise shutdown_timeout if the disk is slow", r.name, errUnfinished, timeout))
		}
	}
	if failed == nil {
		log.Info("stopped: everything that was captured is on disk and sealed")
	}
	return failed
}

// watch calls end if r, being vital, ends before ctx is done, and logs the failure of one that is not.
func watch(ctx context.Context, r *running, end func(), log *zap.Logger) {
	select {
	case <-ctx.Done():
		return
	case <-r.done:
	}
	if r.vital {
		end()
		return
	}
	log.Error("a part failed; recording goes on without it", zap.String("part", r.name), zap.Error(r.err))
}

func (r *running) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// failure is what the end of a vital stage says of the whole. Early means that it was not asked to end.
func (r *running) failure(early bool) error {
	switch {
	case !r.vital:
		return nil
	case r.err != nil:
		return fmt.Errorf("%s: %w", r.name, r.err)
	case early:
		return fmt.Errorf("%s ended by itself", r.name)
	}
	return nil
}
