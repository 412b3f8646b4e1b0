package upload

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Store keeps objects under keys: slash-separated names without empty, "." and ".." parts. A key that is not so is an
// error. All methods may be called concurrently. They retry what may pass within a few seconds (S3 does, by the SDK), no
// longer: whoever calls decides about trying again. Errors wrap ErrNotFound, ErrExists, ErrDenied or ErrUnsupported
// where they mean that, and say what to do.
type Store interface {
	// Put stores what r yields under key, whole or not at all: when it returns an error, r's own included, no object of
	// that name came into being through this call, or, when the answer of the store was lost, all of it did. An object
	// that is there is replaced.
	Put(ctx context.Context, key string, r io.Reader, o PutOptions) error
	// PutNew stores data under key if nothing is there, atomically among all writers; else it returns ErrExists.
	PutNew(ctx context.Context, key string, data []byte, o PutOptions) error
	// Get returns the object's bytes from offset on, and what the object is. The caller closes it. An offset at the
	// object's end gives no bytes; one beyond it is an error.
	Get(ctx context.Context, key string, offset int64) (io.ReadCloser, Object, error)
	// List yields the objects whose keys begin with prefix, all of them, by key. It stops at the first error.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Folders returns the names directly below prefix (which is "" or ends with a slash) that have keys below them, sorted.
	Folders(ctx context.Context, prefix string) ([]string, error)
	// Delete removes the object. That there is none is no error.
	Delete(ctx context.Context, key string) error
	// Link returns a URL by which anyone can read the object until ttl has passed, or ErrUnsupported.
	Link(ctx context.Context, key string, ttl time.Duration) (string, error)
	// Unfinished yields what calls of Put that never ended have left below prefix (multipart uploads, temporary files).
	Unfinished(ctx context.Context, prefix string) iter.Seq2[Unfinished, error]
	// Abort removes what Unfinished has found.
	Abort(ctx context.Context, u Unfinished) error
	// String is the store's URL, without anything secret.
	String() string
}

// PutOptions describe an object.
type PutOptions struct {
	Size int64  // about how many bytes will come, to choose the size of parts; 0 if unknown
	Type string // media type
}

// Object is what a store knows of an object.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time
}

// Unfinished is an object that was never completed.
type Unfinished struct {
	Key   string
	ID    string // the store's own name for it
	Begun time.Time
}

// Errors of stores.
var (
	ErrNotFound    = errors.New("no such object")
	ErrExists      = errors.New("the object exists")
	ErrDenied      = errors.New("access denied")
	ErrUnsupported = errors.New("not supported by this store")
)
