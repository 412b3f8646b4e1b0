package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/ringside/ringside/upload"
)

func defaultUpload() upload.Config {
	return upload.Config{
		To:          "file:///var/lib/ringside/incidents",
		Compression: upload.CompressionZstd,
		S3:          upload.S3{Checksum: "CRC32", PartSize: 5 << 20, Concurrency: 3, Timeout: 30 * time.Second},
		Notify:      upload.Notify{Format: upload.FormatJSON, After: time.Hour},
	}
}

func (d *decoder) upload(n *yaml.Node, path string, u *upload.Config) {
	before := len(d.problems)
	d.object(n, path,
		field{"to", d.scalar(func(s string) (err error) { return set(&u.To)(parseStore(s)) })},
		field{"compression", d.choice(&u.Compression, upload.CompressionZstd, upload.CompressionGzip, upload.CompressionNone)},
		field{"rate_limit", d.orWord("none", 0, &u.RateLimit, d.size(&u.RateLimit, 64<<10, 1<<40))},
		field{"max_bytes", d.orWord("auto", 0, &u.MaxBytes, d.size(&u.MaxBytes, 8<<20, 1<<60))},
		field{"s3", func(n *yaml.Node, path string) { d.s3(concealed(n), path, &u.S3) }},
		field{"notify", func(n *yaml.Node, path string) { d.notify(concealed(n), path, &u.Notify) }},
	)
	if len(d.problems) > before {
		return
	}
	directory := strings.HasPrefix(u.To, "file://")
	if directory && !reflect.DeepEqual(u.S3, defaultUpload().S3) {
		d.wrong(path+".s3", "S3 is set up, but bundles go to the directory %s: write to: s3://BUCKET/PREFIX, or remove s3", strings.TrimPrefix(u.To, "file://"))
	}
	if !directory && u.MaxBytes != 0 {
		d.wrong(path+".max_bytes", "a bucket has no limit here: remove the key, and bound the bucket by a lifecycle rule (deploy/s3/lifecycle.json)")
	}
}

// set returns a function that stores a value unless it comes with an error.
func set[T any](dst *T) func(T, error) error {
	return func(v T, err error) error {
		if err == nil {
			*dst = v
		}
		return err
	}
}

// parseStore reads where bundles go and returns it in its one spelling: file:///DIRECTORY or s3://BUCKET/PREFIX, without
// a slash at the end.
func parseStore(s string) (string, error) {
	const forms = "write s3://BUCKET/PREFIX or file:///DIRECTORY"
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return "", errors.New("is no URL of a store: " + forms)
	}
	if strings.ContainsAny(rest, "?#@") {
		return "", errors.New("has a user, a query or a fragment, which no store has: " + forms + ", and credentials under upload.s3 or in the environment")
	}
	if strings.Contains(rest, "%") {
		return "", errors.New("has a % in it, which readers of URLs take for an escape: choose a name without it")
	}
	switch scheme {
	case "file":
		if !strings.HasPrefix(rest, "/") || path.Clean(rest) == "/" || !plain(rest) {
			return "", errors.New("names no directory: write file:///DIRECTORY, with three slashes")
		}
		return "file://" + path.Clean(rest), nil
	case "s3":
		bucket, prefix, _ := strings.Cut(rest, "/")
		if err := checkBucket(bucket); err != nil {
			return "", err
		}
		prefix = strings.TrimSuffix(prefix, "/")
		if err := checkPrefix(prefix); err != nil {
			return "", err
		}
		return strings.TrimSuffix("s3://"+bucket+"/"+prefix, "/"), nil
	}
	return "", errors.New("is no store known here: " + forms)
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// checkBucket holds a name against the rules of S3 for buckets.
func checkBucket(name string) error {
	_, err := netip.ParseAddr(name)
	if !bucketName.MatchString(name) || strings.Contains(name, "..") || err == nil {
		return errors.New("names no bucket: a bucket's name is 3 to 63 small letters, digits, dashes and dots, begins and ends with a letter or digit, and is no IP address")
	}
	return nil
}

// maxPrefix leaves room for the rest of a key, of which S3 takes 1,024 bytes.
const maxPrefix = 255

func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	for part := range strings.SplitSeq(prefix, "/") {
		if part == "" || part == "." || part == ".." {
			return errors.New(`has an empty part, "." or ".." in its prefix: remove it`)
		}
	}
	if len(prefix) > maxPrefix || !plain(prefix) {
		return fmt.Errorf("has a prefix that is no part of a key: write at most %d bytes, without control characters", maxPrefix)
	}
	return nil
}

// plain says whether s is text on one line.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// webURL checks that s is a URL of a web server.
func webURL(s string) (*url.URL, error) {
	u, err := url.Parse(s) // its error quotes s
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "" {
		return nil, errors.New("is no URL of a server: write https://HOST, or https://HOST:PORT")
	}
	if u.User != nil {
		return nil, errors.New("has a user in it: write https://HOST, and credentials under keys of their own")
	}
	return u, nil
}
