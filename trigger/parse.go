package trigger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxBody is the greatest size of a request, in bytes.
const MaxBody = 64 << 10

// Parse reads a request: a JSON object with any of the fields id, reason, at, pre, post and labels, all of which may be
// left out; an empty body is a request without any. at is RFC 3339, "now" or a time before now such as "-5m"; pre and
// post are durations such as "2m" or "1h30m". Anything else in the body, and every value that Request.Check refuses, is
// an error: a *Refusal that names all problems at once. The request returned with it has the reason, if that is in
// order, so that the refusal can be counted under it, and nothing else.
func Parse(body []byte, now time.Time) (Request, error) {
	p := parser{now: now}
	p.object(body)
	p.problems = append(p.problems, p.request.problems(now)...)
	if len(p.problems) == 0 {
		return p.request, nil
	}
	var known Request
	if checkReason(p.request.Reason) == "" {
		known.Reason = p.request.Reason
	}
	return known, p.problems.refusal()
}

// parser collects what a body says and everything that is wrong with it. A field with a problem is left out.
type parser struct {
	now      time.Time
	request  Request
	problems problems
}

var fields = []string{"id", "reason", "at", "pre", "post", "labels"}

func (p *parser) object(body []byte) {
	switch {
	case len(body) > MaxBody:
		p.problems.add("the request has %d bytes: send %d or fewer", len(body), MaxBody)
		return
	case !utf8.Valid(body):
		p.problems.add("the request is not valid UTF-8: send JSON in UTF-8")
		return
	case len(bytes.TrimSpace(body)) == 0:
		return
	}
	p.each("", body, func(key string, value json.RawMessage) {
		switch key {
		case "id":
			p.text(key, value, func(s string) error { p.request.ID = s; return notEmpty(s) })
		case "reason":
			p.text(key, value, func(s string) error { p.request.Reason = s; return nil })
		case "at":
			p.text(key, value, p.at)
		case "pre":
			p.text(key, value, func(s string) error { return setDuration(&p.request.Pre, s) })
		case "post":
			p.text(key, value, func(s string) error { return setDuration(&p.request.Post, s) })
		case "labels":
			p.labels(value)
		default:
			p.problems.add("unknown field %s%s: the fields are %s", quote(key), suggest(key), strings.Join(fields, ", "))
		}
	})
}

func (p *parser) at(s string) (err error) {
	p.request.At, err = parseTime(s, p.now)
	return err
}

func (p *parser) labels(value json.RawMessage) {
	labels := make(map[string]string)
	p.each("labels", value, func(key string, value json.RawMessage) {
		p.text("label "+quote(key), value, func(s string) error { labels[key] = s; return nil })
	})
	if len(labels) > 0 {
		p.request.Labels = labels
	}
}

// each calls f for every member of a JSON object, the first time that its key is given. name is the field whose value
// the object is, "" for the request itself.
func (p *parser) each(name string, text []byte, f func(key string, value json.RawMessage)) {
	if text = bytes.TrimSpace(text); text[0] != '{' {
		if err := json.Unmarshal(text, new(any)); err != nil {
			p.syntax(err, text, 0)
		} else {
			p.problems.add("%s where an object is expected: write %s", shown(name, text), example(name))
		}
		return
	}
	seen := make(map[string]bool)
	in := json.NewDecoder(bytes.NewReader(text))
	err := func() error {
		if _, err := in.Token(); err != nil { // the brace
			return err
		}
		for in.More() {
			key, err := in.Token()
			if err != nil {
				return err
			}
			var value json.RawMessage
			if err := in.Decode(&value); err != nil {
				return err
			}
			k := key.(string) // of an object, a key that is none is an error
			if seen[k] {
				p.problems.add("%s is given twice: remove one", quote(k))
				continue
			}
			seen[k] = true
			f(k, value)
		}
		_, err := in.Token()
		return err
	}()
	if err == nil {
		if rest := text[in.InputOffset():]; len(bytes.TrimSpace(rest)) > 0 {
			p.problems.add("after the object, at byte %d, there is more: send one object", in.InputOffset())
		}
		return
	}
	p.syntax(err, text, in.InputOffset())
}

func (p *parser) syntax(err error, text []byte, offset int64) {
	what := err.Error()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		what, offset = "it ends within the object", int64(len(text))
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = max(offset, syntax.Offset)
	}
	p.problems.add("the request is no JSON: %s (at byte %d): write %s", cut(what), offset, example(""))
}

// text hands a string to set, whose error completes the sentence "NAME "VALUE" ...".
func (p *parser) text(name string, value json.RawMessage, set func(string) error) {
	var s string
	switch {
	case value[0] == '"' && json.Unmarshal(value, &s) == nil:
		if err := set(s); err != nil {
			p.problems.add("%s %s %v", name, quote(s), err)
		}
	case value[0] == 'n':
		p.problems.add("%s is null: leave it out, or give a text", name)
	default:
		cure := `put it in quotation marks`
		if (name == "pre" || name == "post") && value[0] != '{' && value[0] != '[' {
			cure = fmt.Sprintf(`write a text with a unit, such as "%ss" for seconds`, cut(string(value)))
		}
		p.problems.add("%s where a text is expected: %s", shown(name, value), cure)
	}
}

// shown is how a message begins that is about a value which is no text.
func shown(name string, value []byte) string {
	kind := map[byte]string{'{': "an object", '[': "a list", '"': "a text", 'n': "null", 't': "true", 'f': "false"}[value[0]]
	if kind == "" {
		kind = "the number " + cut(string(value))
	}
	if name == "" {
		return "the request is " + kind
	}
	return name + " is " + kind
}

func example(name string) string {
	if name == "labels" {
		return `{"KEY": "VALUE"}`
	}
	return `{"reason": "what happened"}, or nothing`
}

func notEmpty(s string) error {
	if s == "" {
		return errors.New("is empty: leave it out for a new one")
	}
	return nil
}

func setDuration(dst **time.Duration, s string) error {
	d, err := parseDuration(s)
	if err == nil {
		*dst = &d
	}
	return err
}

// suggest returns ` (did you mean "x"?)` for the field that begins as key does, or "".
func suggest(key string) string {
	key = strings.ToLower(key)
	for _, f := range fields { // the first two letters tell them apart
		if len(key) >= 2 && key[:2] == f[:2] {
			return fmt.Sprintf(" (did you mean %q?)", f)
		}
	}
	return ""
}

// quote is a text as messages have it: without anything that could end a line, and not longer than a line.
func quote(s string) string { return strconv.Quote(cut(s)) }

func cut(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// problems are sentences, each with its cure.
type problems []string

func (l *problems) add(format string, args ...any) { *l = append(*l, fmt.Sprintf(format, args...)) }

// refusal names as many problems as a person reads.
func (l problems) refusal() *Refusal {
	const most = 10
	if more := len(l) - most; more > 0 {
		l = append(slices.Clone(l[:most]), fmt.Sprintf("and %d more", more))
	}
	return invalid("%s", strings.Join(l, "; "))
}
