package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// Scope is what a token may do. Scopes do not imply each other.
type Scope string

// Scopes of tokens.
const (
	ScopeTrigger Scope = "trigger" // POST /v1/triggers
	ScopeRead    Scope = "read"    // incidents and their manifests, metrics, names behind readyz?verbose
	ScopePackets Scope = "packets" // packets, and files of bundles
)

var scopes = []Scope{ScopeTrigger, ScopeRead, ScopePackets}

// token is one line of the file of tokens. What it was is not kept, only its digest.
type token struct {
	name     string
	digest   [sha256.Size]byte
	scopes   []Scope
	expires  time.Time     // zero for never
	triggers *rate.Limiter // of its own, so that nobody else's requests hold it up
}

func (t *token) has(s Scope) bool { return slices.Contains(t.scopes, s) }

func (t *token) expired(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

type tokens []token

// find returns the token whose value was given, or nil. The time it takes depends on neither, only on how many there are.
func (ts tokens) find(value string) *token {
	digest, at := sha256.Sum256([]byte(value)), -1
	for i := range ts {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], ts[i].digest[:]), i, at)
	}
	if at < 0 {
		return nil
	}
	return &ts[at]
}

func sameTokens(a, b tokens) bool {
	return slices.EqualFunc(a, b, func(a, b token) bool {
		return a.name == b.name && a.digest == b.digest && slices.Equal(a.scopes, b.scopes) && a.expires.Equal(b.expires)
	})
}

const maxFile = 1 << 20 // bytes, of files with tokens, certificates and keys

// tokensReader returns what reads the file of tokens. triggers is how many each may send a second, and in a burst.
func tokensReader(path string, triggers float64, log *zap.Logger) func() (tokens, error) {
	warned := false
	return func() (tokens, error) {
		text, mode, err := readFile(path)
		if err != nil {
			return nil, err
		}
		if mode&0o004 != 0 && !warned {
			warned = true
			log.Warn("the file of tokens can be read by every user of this machine: chmod o-r it, or set defaultMode: 0400 on the Secret's volume", zap.String("file", path))
		}
		list, err := parseTokens(path, text)
		for i := range list {
			list[i].triggers = newLimiter(triggers)
		}
		return list, err
	}
}

// newLimiter lets perSecond pass, and at least one at once.
func newLimiter(perSecond float64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond)))
}

// readFile reads a file that decides who is let in: a small regular file that not everybody can write to.
func readFile(path string) (text []byte, mode fs.FileMode, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe must not block the start
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s: there is no such file: create it, or give another path", path)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w: let the recorder's user read it", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	switch mode = info.Mode(); {
	case !mode.IsRegular():
		return nil, mode, fmt.Errorf("%s: this is no regular file: give the path of one", path)
	case mode.Perm()&0o002 != 0:
		return nil, mode, fmt.Errorf("%s: every user of this machine can write to it (mode %04o): chmod o-w it, and replace what it holds", path, mode.Perm())
	}
	text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: the file has more than %d bytes: is it the right one?", path, maxFile)
	}
	return text, mode, err
}
