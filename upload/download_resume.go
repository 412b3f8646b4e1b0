package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// A broken download is continued this often without having got a byte, with pauses that double from the first.
const (
	resumeTries = 6
	resumePause = 500 * time.Millisecond
)

// resuming reads an object from an offset to an end, and continues where a request broke. It is owned by one goroutine.
type resuming struct {
	ctx      context.Context
	store    Store
	key      string
	at, end  int64
	body     io.ReadCloser
	tries    int // without progress
	resumed  bool
	err      error // of the last try, when it has given up
	progress func(at int64)
}

func (a *Archive) open(ctx context.Context, key string, at, end int64) *resuming {
	return &resuming{ctx: ctx, store: a.store, key: key, at: at, end: end, resumed: at > 0, progress: func(int64) {}}
}

// Read reads on. Its error is that of the last try.
func (r *resuming) Read(b []byte) (int, error) {
	for r.err == nil && r.at < r.end {
		n, err := r.read(b[:min(int64(len(b)), r.end-r.at)])
		r.at += int64(n)
		if n > 0 {
			r.tries = 0
			r.progress(r.at)
			return n, nil
		}
		if err != nil {
			r.err = r.again(err)
		}
	}
	if r.err != nil {
		return 0, r.err
	}
	return 0, io.EOF
}

func (r *resuming) read(b []byte) (int, error) {
	if r.body == nil {
		body, _, err := r.store.Get(r.ctx, r.key, r.at)
		if err != nil {
			return 0, err
		}
		r.body = body
	}
	n, err := r.body.Read(b)
	if err == io.EOF && r.at+int64(n) < r.end {
		err = fmt.Errorf("the store ended its answer after %d of %d bytes: %w", r.at+int64(n), r.end, io.ErrUnexpectedEOF)
	}
	return n, err
}

// again prepares another try after err, or returns why there is none.
func (r *resuming) again(err error) error {
	r.Close()
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDenied) || r.ctx.Err() != nil {
		return err
	}
	if r.tries++; r.tries == resumeTries {
		return fmt.Errorf("%w (given up after %d tries; the same command continues it)", err, r.tries)
	}
	r.resumed = r.resumed || r.at > 0
	pause := time.NewTimer(resumePause << (r.tries - 1))
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// Close ends the request that is under way.
func (r *resuming) Close() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}
