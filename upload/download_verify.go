package upload

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow bounds the memory that decompressing takes, in bytes; encoders use 8 MiB at most unless told otherwise.
const maxZstdWindow = 64 << 20

// Verify reads all objects of a bundle and compares their hashes, as stored and decompressed, with the manifest's.
// The error joins one for each object that is not right; those wrap ErrDamaged if it is not what the manifest says.
func (a *Archive) Verify(ctx context.Context, b Bundle, progress func(object string, done, total int64)) error {
	if b.Manifest == nil {
		return fmt.Errorf("%s: %w", b.Prefix(), b.Problem)
	}
	sizes, err := a.sizes(ctx, b.Prefix())
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range b.Manifest.Objects {
		key, size := b.Prefix()+o.Name, sizes[o.Name]
		if size == nil {
			errs = append(errs, damaged(key, "is not in the store, though the manifest names it"))
			continue
		}
		errs = append(errs, a.verifyObject(ctx, key, *size, o, progress))
	}
	return errors.Join(errs...)
}

func (a *Archive) verifyObject(ctx context.Context, key string, size int64, o ObjectFacts,
	progress func(string, int64, int64)) error {
	for try := 1; ; try++ {
		r := a.open(ctx, key, 0, min(size, o.Bytes))
		if progress != nil {
			r.progress = func(done int64) { progress(o.Name, done, o.Bytes) }
		}
		err := o.verify(key, size, r, io.Discard)
		r.Close()
		if r.err != nil {
			return fmt.Errorf("read %s: %w", key, r.err)
		}
		if err == nil || !r.resumed || try == 2 { // parts of two requests may be of two objects
			return err
		}
	}
}

// verify reads the object's stored bytes, of which there are size in the store, and writes them decompressed to plain.
// The error wraps ErrDamaged, unless it is one of reading or writing.
func (o *ObjectFacts) verify(key string, size int64, stored io.Reader, plain io.Writer) error {
	in := newSum(stored)
	out := newSum(nil)
	expandErr := o.expand(in, io.MultiWriter(out, brokenWriter{plain}))
	if _, err := io.Copy(io.Discard, in); err != nil { // what the decompressor did not want
		return fmt.Errorf("read %s: %w", key, err)
	}
	var broken writeError
	switch {
	case errors.As(expandErr, &broken):
		return fmt.Errorf("write what %s holds: %w", key, broken.error)
	case size != o.Bytes:
		return damaged(key, "has %d bytes, its manifest says %d", size, o.Bytes)
	case in.hex() != o.SHA256:
		return damaged(key, "has SHA-256 %s, its manifest says %s", in.hex(), o.SHA256)
	case expandErr != nil:
		return damaged(key, "cannot be decompressed: %v", expandErr)
	case out.n != o.PlainBytes:
		return damaged(key, "has %d bytes decompressed, its manifest says %d", out.n, o.PlainBytes)
	case out.hex() != o.PlainSHA256:
		return damaged(key, "has SHA-256 %s decompressed, its manifest says %s", out.hex(), o.PlainSHA256)
	}
	return nil
}

// expand decompresses, no further than what the manifest says, whatever the object would become.
func (o *ObjectFacts) expand(stored io.Reader, plain io.Writer) error {
	r := stored
	switch o.Compression {
	case CompressionZstd:
		z, err := zstd.NewReader(stored, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	case CompressionGzip:
		z, err := gzip.NewReader(stored)
		if err != nil {
			return err
		}
		r = z
	}
	n, err := io.Copy(plain, io.LimitReader(r, o.PlainBytes+1))
	if err == nil && n > o.PlainBytes {
		err = fmt.Errorf("it has more than the %d bytes that its manifest says", o.PlainBytes)
	}
	return err
}

func damaged(key, format string, args ...any) error {
	return fmt.Errorf("%s %s: %w", key, fmt.Sprintf(format, args...), ErrDamaged)
}

// sum hashes and counts what is read through it, or written to it.
type sum struct {
	r io.Reader
	h hash.Hash
	n int64
}

func newSum(r io.Reader) *sum { return &sum{r: r, h: sha256.New()} }

func (s *sum) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	_, _ = s.Write(b[:n])
	return n, err
}

func (s *sum) Write(b []byte) (int, error) {
	s.n += int64(len(b))
	return s.h.Write(b)
}

func (s *sum) hex() string { return hex.EncodeToString(s.h.Sum(nil)) }

// brokenWriter tells errors of writing from those of the data.
type brokenWriter struct{ io.Writer }

type writeError struct{ error }

func (w brokenWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if err != nil {
		err = writeError{err}
	}
	return n, err
}
