package rotate

import (
	"context"
	"time"
)

// bucket limits bytes per second. It lets a second's worth through at once. It is owned by the writer.
type bucket struct {
	rate   float64 // bytes per second, 0 for no limit
	tokens float64 // negative while in debt
	last   time.Time
}

func newBucket(rate int64) bucket {
	return bucket{rate: float64(rate), tokens: float64(rate), last: time.Now()}
}

// wait takes n bytes and waits until the bucket is out of debt, or ctx is done: what is queued at shutdown is written
// at once. It returns false if it was woken by relax; it has then taken nothing.
func (b *bucket) wait(ctx context.Context, n int, relax <-chan struct{}) bool {
	if b.rate == 0 {
		return true
	}
	now := time.Now()
	b.tokens = min(b.rate, b.tokens+b.rate*now.Sub(b.last).Seconds())
	b.last = now
	b.tokens -= float64(n)
	if b.tokens >= 0 {
		return true
	}
	t := time.NewTimer(time.Duration(-b.tokens / b.rate * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-relax:
		b.tokens += float64(n)
		return false
	}
	return true
}
