package config

import (
	"errors"
	"reflect"
	"regexp"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/ringside/ringside/upload"
)

const hidden = "(hidden)"

// urlSecrets is what of a URL is not shown: users, passwords, and queries, which signatures are part of.
var urlSecrets = regexp.MustCompile(`(://)(?:.*(@)|[^?]*\?.*)`)

// concealed stands for a node that holds secrets below it: if it is a scalar by mistake, it may be one of them.
func concealed(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		return n
	}
	c := *n
	c.Value = hidden
	return &c
}

// secret reads a value that no message may show, or word as "". The error of check completes the sentence "the value ...".
func (d *decoder) secret(word string, dst *upload.Secret, check func(string) error) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		switch {
		case n.Kind != yaml.ScalarNode || isNull(n):
			d.scalar(func(string) error { return nil })(n, path)
		case n.Value == word:
			*dst = ""
		default:
			if err := check(n.Value); err != nil {
				d.problem(n, path, "the value %v", err)
				return
			}
			*dst = upload.Secret(n.Value)
		}
	}
}

var tokenText = regexp.MustCompile(`^[!-~]+$`)

func checkToken(s string) error {
	if !tokenText.MatchString(s) || len(s) > 16<<10 {
		return errors.New("has spaces, line breaks or letters beyond ASCII in it, or none at all: copy it again, between quotes")
	}
	return nil
}

func (d *decoder) notify(n *yaml.Node, path string, c *upload.Notify) {
	d.object(n, path,
		field{"url", d.secret("none", &c.URL, func(s string) error {
			_, err := webURL(s)
			return err
		})},
		field{"headers", func(n *yaml.Node, path string) { d.headers(concealed(n), path, &c.Headers) }},
		field{"format", d.choice(&c.Format, upload.FormatJSON, upload.FormatSlack)},
		field{"after", d.duration(&c.After, time.Second, 7*24*time.Hour)},
	)
}

var (
	headerName  = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	headerValue = regexp.MustCompile(`^[!-~]([ -~]*[!-~])?$`)
	ownHeader   = regexp.MustCompile(`(?i)^(host|content-length|content-type|transfer-encoding|connection)$`)
)

// headers reads the webhook's. A name that is none is not shown: it may be "Authorization: Bearer ..." in one.
func (d *decoder) headers(n *yaml.Node, path string, dst *map[string]upload.Secret) {
	headers := map[string]upload.Secret{}
	before := len(d.problems)
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			if key := n.Content[i]; !headerName.MatchString(key.Value) {
				d.problem(key, path, `one of the names is no header's: write {Authorization: "Bearer ..."}, name and value apart`)
				return
			} else if ownHeader.MatchString(key.Value) {
				d.problem(key, join(path, key.Value), "this header is set by Ringside itself: remove it")
			}
		}
	}
	d.mapping(n, path, func(name string, n *yaml.Node, path string) {
		var v upload.Secret
		d.secret("", &v, func(s string) error {
			if !headerValue.MatchString(s) || len(s) > 8<<10 {
				return errors.New("is no header's: write it on one line, in ASCII, without spaces around it")
			}
			return nil
		})(n, path)
		headers[name] = v
	})
	if len(d.problems) == before && len(headers) > 0 {
		*dst = headers
	}
}

// Key is one key of the configuration.
type Key struct {
	Path   string // such as upload.s3.region
	Secret bool   // its value, or those of the mapping that it is, are shown nowhere
}

// Keys returns every key, by reflection over Config, so that tests can say something about all of them.
func Keys() []Key { return keysOf(reflect.TypeFor[Config](), "") }

// renamed are the fields whose key is not their name, and, with "", those that no key sets.
var renamed = map[string]string{
	"trigger_rate":             "trigger.http_rate",
	"trigger.budget.incidents": "trigger.budget.incidents_per_hour",
	"trigger.budget.bytes":     "trigger.budget.bytes_per_day",
	"trigger.schedules":        "trigger.schedule",
	"trigger.dir":              "",
	"trigger.describe":         "",
	"trigger.accepted":         "",
	"trigger.closing":          "",
	"upload.cluster":           "",
	"upload.node":              "",
}

func keysOf(typ reflect.Type, path string) []Key {
	secret := reflect.TypeFor[upload.Secret]()
	var keys []Key
	for f := range typ.Fields() {
		at := join(path, snake(f.Name))
		if other, ok := renamed[at]; ok {
			at = other
		}
		switch {
		case !f.IsExported() || at == "":
		case f.Type.Kind() == reflect.Struct:
			keys = append(keys, keysOf(f.Type, at)...)
		default:
			keys = append(keys, Key{at, f.Type == secret || f.Type.Kind() == reflect.Map && f.Type.Elem() == secret})
		}
	}
	return keys
}

// snake turns a field's name into its key: KMSKey into kms_key.
func snake(name string) string {
	var b strings.Builder
	r := []rune(name)
	for i := range r {
		begins := unicode.IsUpper(r[i]) && i > 0 && (!unicode.IsUpper(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1]))
		if begins {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r[i]))
	}
	return b.String()
}
