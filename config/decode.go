package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ringside/ringside/capture/filter"
)

// decoder walks YAML nodes into values and collects every problem on the way. A value with a problem is left as it was.
type decoder struct {
	file     string
	problems []Problem
	compile  func(filter.Service) error // judges an expression
	lines    map[string]int             // of the keys that were read
}

// field is one key of a mapping and what reads its value. path is the key in full.
type field struct {
	key  string
	read func(n *yaml.Node, path string)
}

// parse reads text over the defaults. file is for messages only.
func parse(file string, text []byte, compile func(filter.Service) error) (*Config, error) {
	d := &decoder{file: file, compile: compile, lines: map[string]int{}}
	c := Default()
	c.file, c.lines = file, d.lines
	if root := d.document(text); root != nil {
		d.config(root, c)
	}
	d.whole(c)
	if len(d.problems) > 0 {
		slices.SortStableFunc(d.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
		return nil, &Error{Problems: d.problems}
	}
	return c, nil
}

// anchorName is what a message about an alias quotes: a password that begins with * reads as one.
var anchorName = regexp.MustCompile(`unknown anchor '.*'`)

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// document returns the root of the only document in text, or nil if text is empty or has a problem.
func (d *decoder) document(text []byte) *yaml.Node {
	in := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	if err := in.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) {
			d.syntax(err)
		}
		return nil
	}
	if err := in.Decode(&second); err == nil {
		d.problem(&second, "", "a second document begins here: one file holds one configuration, remove the line ---")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	root := follow(doc.Content[0])
	if isNull(root) {
		return nil
	}
	return root
}

func (d *decoder) syntax(err error) {
	line, text := 1, err.Error()
	if m := yamlError.FindStringSubmatch(anchorName.ReplaceAllString(text, "unknown anchor")); m != nil {
		text = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	cure := "look at this line and the one before it: indentation, a missing colon, a quote that is not closed"
	if strings.Contains(text, "cannot start any token") {
		cure = "YAML is indented with spaces, never tabs, and a value that begins with a sign such as % @ or ` needs quotes"
	}
	if strings.Contains(text, "unknown anchor") {
		cure = "a value that begins with * needs quotes"
	}
	d.problems = append(d.problems, Problem{d.file, line, "", "this is no YAML: " + text + ": " + cure})
}

func (d *decoder) problem(n *yaml.Node, path, format string, args ...any) {
	d.problems = append(d.problems, Problem{d.file, max(n.Line, 1), path, fmt.Sprintf(format, args...)})
}

// keyLike is what unknown keys are shown of: {https://hooks.example/SECRET} is a mapping to YAML.
var keyLike = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,31}$`)

// object reads a mapping. A mapping without any key keeps the defaults, so that all its lines may be commented out.
func (d *decoder) object(n *yaml.Node, path string, fields ...field) {
	n = follow(n)
	if isNull(n) {
		return
	}
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "%s where a mapping is expected: write the keys below it, indented (%s)", shown(n), strings.Join(keys, ", "))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], follow(n.Content[i+1])
		at := join(path, key.Value)
		if line, ok := seen[key.Value]; ok && keyLike.MatchString(key.Value) {
			d.problem(key, at, "the key is given twice, first on line %d: remove one", line)
			continue
		}
		seen[key.Value] = key.Line
		f := slices.Index(keys, key.Value)
		switch {
		case !keyLike.MatchString(key.Value) && key.Value != "<<":
			d.problem(key, path, "a key that is no word: the keys here are %s", strings.Join(keys, ", "))
		case key.Value == "<<":
			d.problem(key, at, "merging mappings is not supported: write the keys out")
		case f < 0:
			d.problem(key, at, "unknown key%s: the keys here are %s", suggest(key.Value, keys), strings.Join(keys, ", "))
		default:
			d.lines[at] = key.Line
			fields[f].read(value, at)
		}
	}
}

// list reads a sequence, entry by entry.
func (d *decoder) list(n *yaml.Node, path string, each func(n *yaml.Node, path string)) {
	if isNull(n) {
		d.problem(n, path, noValue)
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.problem(n, path, "%s where a list is expected: write [%s], or one entry a line, each after a dash", shown(n), brief(n))
		return
	}
	for i, entry := range n.Content {
		each(follow(entry), fmt.Sprintf("%s[%d]", path, i))
	}
}

const noValue = "the key has no value: give one, or remove the key to keep the default"

// scalar returns a reader that hands the text of a scalar to set, whose error completes the sentence "VALUE ...".
func (d *decoder) scalar(set func(string) error) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		switch {
		case isNull(n):
			d.problem(n, path, noValue)
		case n.Kind != yaml.ScalarNode:
			d.problem(n, path, "%s where a single value is expected", shown(n))
		default:
			if err := set(n.Value); err != nil {
				d.problem(n, path, "%s %v", shown(n), err)
			}
		}
	}
}

func (d *decoder) size(dst *int64, least, most int64) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		v, err := parseSize(s)
		switch {
		case err != nil:
			return err
		case v < least:
			return fmt.Errorf("is too small: write %s or more", formatSize(least))
		case v > most:
			return fmt.Errorf("is too large: write %s or less", formatSize(most))
		}
		*dst = v
		return nil
	})
}

func (d *decoder) duration(dst *time.Duration, least, most time.Duration) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		v, err := parseDuration(s)
		switch {
		case err != nil:
			return err
		case v < least:
			return fmt.Errorf("is too short: write %v or more", least)
		case v > most:
			return fmt.Errorf("is too long: write %v or less", most)
		}
		*dst = v
		return nil
	})
}

func (d *decoder) choice(dst *string, allowed ...string) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		if !slices.Contains(allowed, s) {
			return fmt.Errorf("is not known here%s: write %s", suggest(s, allowed), orList(allowed))
		}
		*dst = s
		return nil
	})
}

func (d *decoder) flag(dst *bool) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		if s != "true" && s != "false" {
			return errors.New("is neither true nor false")
		}
		*dst = s == "true"
		return nil
	})
}

// follow returns what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// shown is how a message begins that is about the node's value.
func shown(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(brief(n))
}

// brief is the node's text, cut to a length that a message can hold, and without what of a URL may be secret.
func brief(n *yaml.Node) string {
	const most = 80
	text := urlSecrets.ReplaceAllString(n.Value, "$1"+hidden+"$2")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}
