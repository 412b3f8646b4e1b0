package api

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bounds of the file of tokens.
const (
	maxTokens   = 1000 // each request is compared with all
	minToken    = 16   // bytes
	maxToken    = 512
	minLetters  = 8 // different ones in a token
	shownLength = minToken - 1
)

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// tokenParser reads the file of tokens and collects every problem on the way. None of them shows a value that may be a
// token.
type tokenParser struct {
	file     string
	problems []tokenProblem
}

type tokenProblem struct {
	line int
	text string
}

// parseTokens reads a YAML list of {name, token or token_sha256, scopes, expires}. The error names all problems, each
// with its line and the cure.
func parseTokens(file string, text []byte) (tokens, error) {
	p := &tokenParser{file: file}
	list := p.list(text)
	if len(p.problems) == 0 {
		return list, nil
	}
	slices.SortStableFunc(p.problems, func(a, b tokenProblem) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	for _, problem := range p.problems {
		errs = append(errs, fmt.Errorf("%s:%d: %s", p.file, problem.line, problem.text))
	}
	return nil, errors.Join(errs...)
}

func (p *tokenParser) wrong(n *yaml.Node, format string, args ...any) {
	p.problems = append(p.problems, tokenProblem{max(n.Line, 1), fmt.Sprintf(format, args...)})
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

func (p *tokenParser) list(text []byte) tokens {
	in := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	switch err := in.Decode(&doc); {
	case errors.Is(err, io.EOF), err == nil && isEmpty(doc.Content[0]):
		p.wrong(&doc, "the file is empty: write a list of tokens, or [] for none")
		return nil
	case err != nil: // its text may hold a token
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			fmt.Sscan(m[1], &doc.Line)
		}
		p.wrong(&doc, "this is no YAML: look at this line and the one before it, and put tokens in quotes")
		return nil
	}
	if in.Decode(&second) != io.EOF {
		p.wrong(&second, "more follows after the list: remove it, and any line ---")
	}
	root := doc.Content[0]
	if root.Kind != yaml.SequenceNode {
		p.wrong(root, "a list of tokens is expected here: begin each with a dash, such as - {name: ci, token_sha256: ..., scopes: [trigger]}")
		return nil
	}
	if len(root.Content) > maxTokens {
		p.wrong(root, "%d tokens are listed, %d may be: remove those that expired", len(root.Content), maxTokens)
		return nil
	}
	list := tokens{}
	for i, n := range root.Content {
		t := p.token(n, fmt.Sprintf("[%d]", i))
		for _, other := range list {
			if t.name != "" && other.name == t.name {
				p.wrong(n, "[%d].name: %s names two tokens: rename one, for the audit log tells them apart by it", i, t.name)
			}
			if t.digest != [sha256.Size]byte{} && other.digest == t.digest {
				p.wrong(n, "[%d]: the token is the same as that of %s: make a new one, such as openssl rand -hex 32", i, other.name)
			}
		}
		list = append(list, t)
	}
	return list
}

const tokenKeys = "name, token, token_sha256, scopes, expires"

func (p *tokenParser) token(n *yaml.Node, at string) (t token) {
	if n.Kind != yaml.MappingNode {
		p.wrong(n, "%s: a mapping is expected: write the keys %s", at, tokenKeys)
		return t
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if seen[key.Value] {
			p.wrong(key, "%s: a key is given twice: remove one", at)
			continue
		}
		seen[key.Value] = true
		p.key(&t, key, value, at)
	}
	for _, key := range []string{"name", "scopes"} {
		if !seen[key] {
			p.wrong(n, "%s.%s is missing: each token has the keys name, scopes, and token or token_sha256", at, key)
		}
	}
	if seen["token"] == seen["token_sha256"] {
		p.wrong(n, "%s: give either token or token_sha256 (printf %%s TOKEN | sha256sum), the latter keeps the token itself out of the file", at)
	}
	return t
}

func (p *tokenParser) key(t *token, key, value *yaml.Node, at string) {
	at += "." + short(key.Value)
	if key.Value == "scopes" {
		t.scopes = p.scopes(value, at)
		return
	}
	text := value.Value
	if value.Kind != yaml.ScalarNode || isEmpty(value) {
		p.wrong(value, "%s: one value is expected: write it behind the colon, in quotes", at)
		return
	}
	switch key.Value {
	case "name":
		if !tokenName.MatchString(text) {
			p.wrong(value, "%s: this is no name: write up to 63 letters, digits, dots, dashes and underscores", at)
			return
		}
		t.name = text
	case "token":
		if why := weak(text); why != "" {
			p.wrong(value, "%s: the token %s: make one with openssl rand -hex 32", at, why)
			return
		}
		t.digest = sha256.Sum256([]byte(text))
	case "token_sha256":
		digest, err := hex.DecodeString(text)
		if err != nil || len(digest) != len(t.digest) {
			p.wrong(value, "%s: this is no SHA-256: write the 64 hexadecimal digits that printf %%s TOKEN | sha256sum prints", at)
			return
		}
		t.digest = [sha256.Size]byte(digest)
	case "expires":
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			p.wrong(value, "%s: this is no time: write it as RFC 3339 has it, such as 2027-01-31T00:00:00Z", at)
			return
		}
		t.expires = when
	default:
		p.wrong(key, "%s: unknown key: the keys of a token are %s", at, tokenKeys)
	}
}

func (p *tokenParser) scopes(n *yaml.Node, at string) (list []Scope) {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		p.wrong(n, "%s: a list is expected: write some of %v", at, scopes)
		return nil
	}
	for _, item := range n.Content {
		s := Scope(item.Value)
		switch {
		case item.Kind != yaml.ScalarNode || !slices.Contains(scopes, s):
			p.wrong(item, "%s: %q is no scope: the scopes are %v", at, short(item.Value), scopes)
		case slices.Contains(list, s):
			p.wrong(item, "%s: %s is listed twice: remove one", at, s)
		default:
			list = append(list, s)
		}
	}
	return list
}

// weak says what makes a token too easy to guess or impossible to send, "" if nothing does.
func weak(text string) string {
	letters := map[rune]bool{}
	for _, r := range text {
		if r <= ' ' || r > '~' {
			return "has characters that a header cannot hold"
		}
		letters[r] = true
	}
	switch {
	case len(text) < minToken:
		return fmt.Sprintf("has %d bytes, fewer than %d", len(text), minToken)
	case len(text) > maxToken:
		return fmt.Sprintf("has %d bytes, more than %d", len(text), maxToken)
	case len(letters) < minLetters:
		return fmt.Sprintf("has %d different characters, fewer than %d", len(letters), minLetters)
	}
	return ""
}

// short shows a word that stands where a name belongs: never as much of it as a token has.
func short(word string) string {
	if len(word) > shownLength {
		return "..."
	}
	return strings.ToValidUTF8(word, "?")
}

func isEmpty(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
