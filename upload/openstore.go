package upload

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Dial opens connections to the store, and to whoever gives credentials for it, as net.Dialer's DialContext does.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// ErrFull is that of a directory store that has reached Config.MaxBytes, or whose disk is full.
var ErrFull = errors.New("the store is full")

// OpenStore returns the store that cfg.To names. It does not look whether the store can be reached: a store that is away
// is one whose methods fail. The error is one of the configuration, or of a file that it names. dial may be nil.
func OpenStore(ctx context.Context, cfg Config, dial Dial) (Store, error) {
	u, err := url.Parse(cfg.To)
	if err != nil { // which may quote a secret
		return nil, errors.New("upload.to is not a URL: write s3://BUCKET/PREFIX or file:///DIRECTORY")
	}
	switch {
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("upload.to has a user, a query or a fragment: write s3://BUCKET/PREFIX or file:///DIRECTORY")
	case u.Scheme == "s3" && u.Host != "":
		prefix := strings.Trim(u.Path, "/")
		if prefix != "" {
			if err := checkKey(prefix); err != nil {
				return nil, fmt.Errorf("upload.to: %w", err)
			}
		}
		return openS3(ctx, cfg, u.Host, prefix, dial)
	case u.Scheme == "file" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return openDir(u.Path, cfg.MaxBytes), nil
	}
	return nil, fmt.Errorf("upload.to %q is no store: write s3://BUCKET/PREFIX or file:///DIRECTORY", cfg.To)
}

const (
	maxKey  = 900 // bytes; S3's limit is 1024 with the prefix
	maxPart = 255 // bytes, as names of files; the last part is shorter by what makes a temporary name
)

// tempPattern is that of temporary files in a directory store: the name of the object, and of the attempt.
var tempPattern = regexp.MustCompile(`^\.(.+)\.([A-Z2-7]{10})\.tmp$`)

const tempLength = len("..ABCDEFGHIJ.tmp")

// checkKey refuses keys that some store could not keep under just that name.
func checkKey(key string) error {
	bad := func(why string) error {
		return fmt.Errorf("key %.100q %s: keys are names of at most %d bytes, parted by single slashes", key, why, maxPart)
	}
	switch {
	case key == "":
		return bad("is empty")
	case len(key) > maxKey:
		return bad("is too long")
	case !utf8.ValidString(key):
		return bad("is not UTF-8")
	case strings.ContainsFunc(key, unicode.IsControl):
		return bad("has a control character")
	}
	parts := strings.Split(key, "/")
	for _, p := range parts {
		switch {
		case p == "" || p == "." || p == "..":
			return bad(fmt.Sprintf("has a part %q", p))
		case len(p) > maxPart:
			return bad("has a part that is too long")
		case tempPattern.MatchString(p):
			return bad("is named like a temporary file")
		}
	}
	if len(parts[len(parts)-1]) > maxPart-tempLength {
		return bad("has a last part that is too long")
	}
	return nil
}
