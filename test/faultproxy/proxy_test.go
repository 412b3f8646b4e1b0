package faultproxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/upload"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const part = 5 << 20

// TestFaults puts an object of two parts through each fault: what the store says, whether the object is there, and that
// the next one arrives once the fault is over.
func TestFaults(t *testing.T) {
	server := s3server.Start(t)
	for _, c := range []struct {
		name  string
		fault Fault
		hasty bool
		says  string // the error of a Put, "" for none
		is    error
		hits  int // -1: not counted
		there bool
	}{
		{"refused", Fault{Kind: Refuse}, false, "connection refused: is it up", syscall.ECONNREFUSED, 0, false},
		{"black hole", Fault{Kind: BlackHole}, true, "no answer from https://127.0.0.1:", nil, -1, false},
		{"slow", Fault{Kind: Slow, Rate: 2 << 20}, true, "", nil, -1, true},
		{"denied", Fault{Kind: Deny}, false, "does not allow it", upload.ErrDenied, 1, false},
		{"a part denied", Fault{Kind: Deny, Match: IsPart}, false, "AccessDenied", upload.ErrDenied, -1, false},
		{"500", Fault{Kind: Internal}, false, "500 InternalError", nil, 3, false},
		{"500 twice", Fault{Kind: Internal, Times: 2}, false, "", nil, 2, true},
		{"slow down", Fault{Kind: SlowDown}, false, "503 SlowDown", nil, 3, false},
		{"other region", Fault{Kind: Region}, false, "the bucket is in eu-central-1: set upload.s3.region", nil, 1, false},
		{"skewed", Fault{Kind: Skew, Match: IsComplete}, false, "clock is wrong", upload.ErrDenied, -1, false},
		{"reset twice in mid-part", Fault{Kind: Reset, Bytes: 1 << 20, Match: IsPart, Times: 2}, false, "", nil, 2, true},
		{"reset for ever", Fault{Kind: Reset, Bytes: 1 << 20, Match: IsPart}, false, "no answer", nil, -1, false},
		{"held once", Fault{Kind: Hold, Match: IsPart, Times: 1}, true, "", nil, 1, true},
		{"held", Fault{Kind: Hold, Match: IsComplete}, true, "no answer", nil, 3, false},
		{"answer lost of a part", Fault{Kind: LoseAnswer, Match: IsPart, Times: 1}, true, "", nil, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := Start(t, server)
			cfg := p.Config("objects")
			if c.hasty {
				cfg.S3.Timeout = time.Second
			}
			s, err := upload.OpenStore(t.Context(), cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			key := strings.ReplaceAll(c.name, " ", "-")
			put := func(key string) error {
				return s.Put(t.Context(), key, io.LimitReader(zeros{}, part+1), upload.PutOptions{})
			}
			p.Set(c.fault)
			err = put(key)
			hits := p.Hits()
			p.Set(Fault{})
			switch {
			case c.says == "" && err != nil:
				t.Errorf("put: %v", err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is)):
				t.Errorf("put: %v, want %q", err, c.says)
			case err != nil && (strings.Contains(err.Error(), server.SecretKey) || strings.Contains(err.Error(), "X-Amz-")):
				t.Errorf("the error tells a secret: %v", err)
			}
			if c.hits >= 0 && hits != c.hits {
				t.Errorf("met %d times, want %d", hits, c.hits)
			}
			r, o, err := s.Get(t.Context(), key, 0)
			if err == nil {
				r.Close()
			}
			if c.there && (err != nil || o.Size != part+1) || !c.there && !errors.Is(err, upload.ErrNotFound) {
				t.Errorf("afterwards: %+v, %v; want it to be there: %t", o, err, c.there)
			}
			if err := put(key + "-later"); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
}

// TestLostManifest loses the answer to a conditional write: it was made, and the repeated one finds it.
func TestLostManifest(t *testing.T) {
	p := Start(t, s3server.Start(t))
	cfg := p.Config("")
	cfg.S3.Timeout = time.Second
	s, err := upload.OpenStore(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Set(Fault{Kind: LoseAnswer, Match: IsManifest, Times: 1})
	err = s.PutNew(t.Context(), "a/manifest.json", []byte("{}"), upload.PutOptions{})
	if !errors.Is(err, upload.ErrExists) {
		t.Errorf("put new: %v, want ErrExists", err)
	}
	if err := p.Await(t.Context(), 1); err != nil {
		t.Error(err)
	}
	var statuses []int
	for _, r := range p.Requests() {
		if r.Method == http.MethodPut && strings.HasPrefix(r.URL, "/evidence/a/manifest.json") {
			statuses = append(statuses, r.Status)
		}
	}
	if len(statuses) == 0 || statuses[len(statuses)-1] != http.StatusPreconditionFailed {
		t.Errorf("the puts were answered %v, want 412 at the end", statuses)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Await(ctx, 5); err == nil {
		t.Error("Await of hits that never come returned")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestMemory holds every part, so that the store reads on as far as it keeps things in memory: the first part, those
// under way, and one that waits.
func TestMemory(t *testing.T) {
	p := Start(t, s3server.Start(t))
	s, err := upload.OpenStore(t.Context(), p.Config("m"), nil)
	if err != nil {
		t.Fatal(err)
	}
	const parts, most = 12, (3 + 2) * part
	p.Set(Fault{Kind: Hold, Match: IsPart})
	source := &meter{left: parts * part, full: most, reached: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- s.Put(t.Context(), "a", source, upload.PutOptions{}) }()
	if err := p.Await(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	<-source.reached
	if p.Hits() != 3 {
		t.Errorf("%d parts at once, want 3", p.Hits())
	}
	source.healed.Store(true)
	p.Set(Fault{})
	if err := <-done; err != nil {
		t.Error(err)
	}
	if source.beyond.Load() {
		t.Errorf("more than %d bytes were read while no part was stored", most)
	}
}

// meter yields zeros, tells when full bytes were read, and notes a read beyond before it is healed.
type meter struct {
	left, read, full int
	reached          chan struct{}
	healed, beyond   atomic.Bool
}

func (m *meter) Read(b []byte) (int, error) {
	if m.left == 0 {
		return 0, io.EOF
	}
	n := min(len(b), m.left)
	if m.read >= m.full && !m.healed.Load() {
		m.beyond.Store(true)
	}
	before := m.read
	m.read, m.left = m.read+n, m.left-n
	if before < m.full && m.read >= m.full {
		close(m.reached)
	}
	return n, nil
}
