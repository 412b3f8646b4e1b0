package upload

import (
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/ringside/ringside/failpoint"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
)

// TypeCapture is the media type of pcapng, as /v1/packets has it.
const TypeCapture = "application/vnd.tcpdump.pcap"

// Media types of the other objects: JSON lines, JSON, and a page that browsers show from where it is stored.
const (
	TypeTimeline = "application/x-ndjson"
	TypeReport   = "application/json"
	TypePage     = "text/html; charset=utf-8"
)

// attempt is one try to write the bundle of an incident: all objects but the manifest.
type attempt struct {
	store    Store
	timeline Timeline // nil for none
	reporter Reporter // nil for none
	limit    *rate.Limiter
	compress string
	place    Place
	incident trigger.Incident
	sent     func(n int) // told of every piece that goes to the store

	reporting chan struct{} // has a value while a report is being made, that of an earlier attempt too
	patience  time.Duration // with the reporter, beside the time for its bytes
	log       *zap.Logger
}

// write streams the window from the pin into the store and returns the manifest that makes a bundle of it. Nothing is
// copied on the disk; memory is that of the compressor and the store's parts.
func (a attempt) write(ctx context.Context, reader *rotate.Reader) (*Manifest, error) {
	i := a.incident
	window, err := reader.Window(ctx, i.From, i.To)
	if err != nil {
		return nil, err
	}
	defer window.Close()
	object, err := a.capture(ctx, window)
	if err != nil {
		return nil, err
	}
	c := window.Coverage()
	objects := []ObjectFacts{object}
	timeline, err := a.events(ctx, &objects)
	if err != nil {
		return nil, err
	}
	m := &Manifest{
		Version: ManifestVersion, Incident: i.ID, Cluster: a.place.Cluster, Node: a.place.Node, Created: time.Now().UTC().Round(0),
		Triggers: i.Triggers, Extensions: i.Extensions, Objects: objects, Segments: []rotate.Segment{}, Timeline: timeline,
		Window: Window{Asked: rotate.Span{From: i.From, To: i.To}, Complete: c.Complete(), Coverage: c},
	}
	for _, g := range reader.Segments() {
		if g.From.Before(i.To) && g.To.After(i.From) {
			m.Segments = append(m.Segments, g)
		}
	}
	if len(i.Recorder) > 0 {
		if err := json.Unmarshal(i.Recorder, &m.Recorder); err != nil {
			return nil, fmt.Errorf("the recorder's description in the journal of %s: %w", i.ID, err)
		}
	}
	return m, a.report(ctx, reader, m)
}

// capture stores the packets of the window as one object.
func (a attempt) capture(ctx context.Context, window *rotate.Window) (ObjectFacts, error) {
	o := ObjectFacts{Name: "capture-" + newAttempt() + ".pcapng", Kind: KindCapture, Type: TypeCapture, Compression: a.compress}
	return a.put(ctx, o, windowBytes(window.Coverage(), a.incident.Pinned), func(w io.Writer) error {
		_, err := window.WriteTo(w)
		return err
	})
}

// events stores the host's events of the window as one object, which it appends to objects. A timeline that cannot be read
// is no reason to keep the packets from their store: the manifest says what is missing.
func (a attempt) events(ctx context.Context, objects *[]ObjectFacts) (*hoststate.Summary, error) {
	if a.timeline == nil {
		return nil, nil
	}
	i := a.incident
	var s hoststate.Summary
	o := ObjectFacts{Name: "timeline-" + newAttempt() + ".jsonl", Kind: KindTimeline, Type: TypeTimeline, Compression: a.compress}
	o, err := a.put(ctx, o, 0, func(w io.Writer) error {
		out := &lasting{w: w}
		var err error
		s, err = a.timeline.Copy(ctx, hoststate.Query{From: i.From, To: i.To, Incident: i.ID}, out)
		if err != nil && out.err == nil && ctx.Err() == nil {
			s.Complete = false
			s.Gaps = append(s.Gaps, hoststate.Gap{Span: rotate.Span{From: i.From, To: i.To}, Why: "the timeline could not be read: " + err.Error()})
			return nil
		}
		return err
	})
	*objects = append(*objects, o)
	return &s, err
}

// lasting remembers that a write failed.
type lasting struct {
	w   io.Writer
	err error
}

func (l *lasting) Write(p []byte) (n int, err error) {
	n, err = l.w.Write(p)
	l.err = err
	return n, err
}

// put stores what produce writes as one object of about estimate bytes, compressed as o says, and completes its facts.
func (a attempt) put(ctx context.Context, o ObjectFacts, estimate int64, produce func(io.Writer) error) (ObjectFacts, error) {
	switch o.Compression {
	case CompressionZstd:
		o.Name += ".zst"
	case CompressionGzip:
		o.Name += ".gz"
	}
	pr, pw := io.Pipe()
	plain := &counter{hash: sha256.New()}
	produced := make(chan error, 1)
	go func() {
		err := compress(pw, o.Compression, func(w io.Writer) error {
			if o.Compression != CompressionNone { // else the two are the same
				w = io.MultiWriter(w, plain)
			}
			return produce(w)
		})
		pw.CloseWithError(err) // nil is the end of the stream
		produced <- err
	}()
	stored := &meter{ctx: ctx, r: pr, counter: counter{hash: sha256.New()}, limit: a.limit, sent: a.sent}
	err := a.store.Put(ctx, a.place.Prefix()+o.Name, stored, PutOptions{Size: estimate, Type: o.Type})
	if err == nil && !stored.ended {
		err = fmt.Errorf("the store took %d bytes and not the whole of %s", stored.n, o.Name)
	}
	pr.CloseWithError(fmt.Errorf("the store takes no more: %w", context.Canceled))
	if failed := <-produced; err == nil {
		err = failed
	}
	o.Bytes, o.SHA256 = stored.n, stored.sum()
	o.PlainBytes, o.PlainSHA256 = o.Bytes, o.SHA256
	if o.Compression != CompressionNone {
		o.PlainBytes, o.PlainSHA256 = plain.n, plain.sum()
	}
	return o, err
}

// windowBytes is about how large the capture becomes: an upper bound for choosing the size of parts.
func windowBytes(c rotate.Coverage, pinned int64) int64 {
	if c.Packets == 0 {
		return 0
	}
	return pinned
}

// newAttempt returns a name that no other attempt has.
func newAttempt() string {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// compress writes to out what produce writes, compressed.
func compress(out io.Writer, how string, produce func(io.Writer) error) error {
	var z io.WriteCloser
	switch how {
	case CompressionZstd:
		enc, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
		if err != nil {
			return err
		}
		z = enc
	case CompressionGzip:
		z, _ = gzip.NewWriterLevel(out, gzip.BestSpeed) // the level is one of the package's own
	default:
		return produce(out)
	}
	if err := produce(z); err != nil {
		z.Close()
		return err
	}
	return z.Close()
}

// counter counts and hashes what is written to it.
type counter struct {
	hash hash.Hash
	n    int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.hash.Write(p)
}

func (c *counter) sum() string { return hex.EncodeToString(c.hash.Sum(nil)) }

// meter hands on what it reads, no faster than its limit, and counts and hashes it.
type meter struct {
	counter
	ctx   context.Context
	r     io.Reader
	limit *rate.Limiter
	sent  func(n int)
	ended bool // the stream was read to its end
}

// maxPiece is what is read between two looks at the limit, in bytes.
const maxPiece = 64 << 10

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p[:min(len(p), maxPiece)])
	if n > 0 {
		failpoint.Stage("uploading")
		m.Write(p[:n])
		m.sent(n)
		if waited := m.limit.WaitN(m.ctx, n); waited != nil {
			return n, waited
		}
	}
	m.ended = m.ended || err == io.EOF
	return n, err
}
