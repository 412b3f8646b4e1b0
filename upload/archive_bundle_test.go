package upload

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
)

var night = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// idAt is the id of a trigger at night plus d.
func idAt(d time.Duration) string {
	return night.Add(d).Format("20060102T150405.000000Z") + "-0a1b2c3d"
}

func at(d time.Duration, node string) Place { return Place{"prod", idAt(d), node} }

// newArchive returns an archive over an empty directory store, and the directory.
func newArchive(t *testing.T) (*Archive, string) {
	t.Helper()
	dir := t.TempDir()
	return NewArchive(openDir(dir, 1<<30)), dir
}

// packets is a capture with n packets, one a millisecond.
func packets(n int) []byte {
	b := pcapng.AppendInterface(pcapng.AppendSection(nil, "ringside", ""), pcapng.Interface{Name: "eth0"})
	for i := range n {
		p := make([]byte, pcapng.PacketSize(60))
		pcapng.PutPacket(p, 0, night.UnixNano()+int64(i)*1e6, 60, pcapng.Inbound, nil, bytes.Repeat([]byte{byte(i)}, 60))
		b = append(b, p...)
	}
	return b
}

func hexSum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func squeeze(t *testing.T, b []byte, compression string) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch compression {
	case CompressionNone:
		return b
	case CompressionGzip:
		w = gzip.NewWriter(&out)
	case CompressionZstd:
		z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// newManifest is that of a bundle without objects.
func newManifest(p Place) *Manifest {
	begun, _ := trigger.IDTime(p.Incident)
	window := rotate.Span{From: begun.Add(-2 * time.Minute), To: begun.Add(time.Minute)}
	return &Manifest{
		Version: ManifestVersion, Incident: p.Incident, Cluster: p.Cluster, Node: p.Node, Created: begun.Add(time.Hour),
		Triggers: []trigger.Trigger{{ID: p.Incident, Reason: "slow", Source: trigger.SourceHTTP, At: begun, Received: begun}},
		Window: Window{Asked: window, Complete: true, Coverage: rotate.Coverage{From: window.From, To: window.To, Segments: 1,
			Rings: []rotate.RingCoverage{{Ring: "eth0", Covered: []rotate.Span{window}}}, Interfaces: []string{"eth0"}}},
	}
}

// plant writes a bundle without objects into a directory store.
func plant(t *testing.T, dir string, p Place) {
	t.Helper()
	raw, err := json.Marshal(newManifest(p))
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, p.Prefix()), 0o750)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, p.Prefix(), ManifestName), raw, 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// putBundle stores a bundle as the outbox does, with one capture, and returns it as the archive should find it.
func putBundle(t *testing.T, s Store, p Place, capture []byte, compression string, change ...func(*Manifest)) Bundle {
	t.Helper()
	stored := squeeze(t, capture, compression)
	suffix := map[string]string{CompressionZstd: ".zst", CompressionGzip: ".gz"}[compression]
	m := newManifest(p)
	m.Objects = []ObjectFacts{{
		Name: "capture-AAAA.pcapng" + suffix, Kind: KindCapture, Type: "application/vnd.tcpdump.pcap", Compression: compression,
		Bytes: int64(len(stored)), SHA256: hexSum(stored), PlainBytes: int64(len(capture)), PlainSHA256: hexSum(capture),
	}}
	put(t, s, p.Prefix()+m.Objects[0].Name, stored)
	for _, f := range change {
		f(m)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, p.Prefix()+ManifestName, raw)
	return Bundle{Place: p, Manifest: m, Raw: raw}
}

func put(t *testing.T, s Store, key string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, bytes.NewReader(data), PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// spoil changes the file of an object in a directory store.
func spoil(t *testing.T, dir, key string, change func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(dir, key)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tap is a store whose calls a test sees and can change.
type tap struct {
	Store
	got     func(key string, offset int64)
	body    func(key string, offset int64, r io.ReadCloser) io.ReadCloser
	deleted func(key string)
	deny    func(key string) error // of Get
}

func (s tap) Get(ctx context.Context, key string, offset int64) (io.ReadCloser, Object, error) {
	if s.got != nil {
		s.got(key, offset)
	}
	if s.deny != nil {
		if err := s.deny(key); err != nil {
			return nil, Object{}, err
		}
	}
	r, o, err := s.Store.Get(ctx, key, offset)
	if err == nil && s.body != nil {
		r = s.body(key, offset, r)
	}
	return r, o, err
}

func (s tap) Delete(ctx context.Context, key string) error {
	if s.deleted != nil {
		s.deleted(key)
	}
	return s.Store.Delete(ctx, key)
}

// breaking is a body that breaks after n bytes.
type breaking struct {
	io.ReadCloser
	n int64
}

func (r *breaking) Read(b []byte) (int, error) {
	if r.n == 0 {
		return 0, fmt.Errorf("connection reset")
	}
	n, err := r.ReadCloser.Read(b[:min(int64(len(b)), r.n)])
	r.n -= int64(n)
	return n, err
}
