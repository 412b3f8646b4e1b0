package api

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

func TestParseTokens(t *testing.T) {
	sum := sha256.Sum256([]byte(readToken))
	list, err := parseTokens("t", []byte(`# comment
- name: ci
  token: "`+triggerToken+`"
  scopes: [trigger]
- name: grafana.prod_1-a
  token_sha256: `+strings.ToUpper(hex.EncodeToString(sum[:]))+`
  scopes: [read, packets]
  expires: 2027-01-31T00:00:00+01:00
- {name: digits, token: 1234567890123456, scopes: [read]}
`))
	if err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	for value, name := range map[string]string{triggerToken: "ci", readToken: "grafana.prod_1-a", "1234567890123456": "digits"} {
		if got := list.find(value); got == nil || got.name != name {
			t.Errorf("find(%s) = %v, want %s", value, got, name)
		}
	}
	for _, value := range []string{"", "x", triggerToken + "0", hex.EncodeToString(sum[:])} {
		if got := list.find(value); got != nil {
			t.Errorf("find(%q) = %s", value, got.name)
		}
	}
	end := time.Date(2027, 1, 30, 23, 0, 0, 0, time.UTC)
	if g := &list[1]; g.expired(end.Add(-time.Nanosecond)) || !g.expired(end) || g.has(ScopeTrigger) || !g.has(ScopeRead) || !g.has(ScopePackets) {
		t.Errorf("%+v", g)
	}
	if list[0].expired(end.AddDate(1000, 0, 0)) {
		t.Error("a token without an end has expired")
	}
	if list, err := parseTokens("t", []byte("[]")); err != nil || list == nil || len(list) != 0 {
		t.Errorf("[] gives %v, %v", list, err)
	}
}

// secret is in every bad file, and in no message about one.
const secret = "c4n4ry-0123456789abcdefghijk"

func TestBadTokens(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                   {"t:1: the file is empty"},
		"# nothing\n":                        {"t:1: the file is empty"},
		"~":                                  {"t:1: the file is empty"},
		secret:                               {"t:1: a list of tokens is expected"},
		"tokens: [" + secret + "]":           {"t:1: a list of tokens is expected"},
		"- " + secret:                        {"t:1: [0]: a mapping is expected"},
		"- [" + secret + "]":                 {"t:1: [0]: a mapping is expected"},
		"- {" + secret + ": 1}":              {"[0]....: unknown key", "[0].name is missing", "[0].scopes is missing", "[0]: give either token or token_sha256"},
		"- {name: *" + secret + "}":          {"t:1: this is no YAML"},
		"\n- name: x\n  token: \"" + secret:  {"this is no YAML"},
		"- &" + secret + " {}\n- *" + secret: {"t:1: [0].name is missing", "[0].scopes is missing", "[0]: give either", "t:2: [1]: a mapping is expected"},
		"[]\n---\n- " + secret:               {"more follows after the list"},
		"- {name: ci, token: " + secret + ", token: " + secret + ", scopes: [read]}":          {"t:1: [0]: a key is given twice"},
		"- {name: ci, token: " + secret + ", token_sha256: " + secret + ", scopes: [read]}":   {"[0].token_sha256: this is no SHA-256", "[0]: give either token or token_sha256"},
		"- {name: \"" + secret + "\\n\", token: " + secret + ", scopes: []}":                  {"[0].name: this is no name", "[0].scopes: a list is expected: write some of [trigger read packets]"},
		"- {name: a, token: [" + secret + "], scopes: {" + secret + ": 1}}":                   {"[0].token: one value is expected", "[0].scopes: a list is expected"},
		"- {name: a, token: , scopes: [" + secret + ", admin, read, read, [" + secret + "]]}": {"[0].token: one value is expected", `[0].scopes: "..." is no scope`, `"admin" is no scope`, "read is listed twice", `"" is no scope`},
		"- {name: a, token: c4n4ry, scopes: [read]}":                                          {"has 6 bytes, fewer than 16: make one with openssl rand -hex 32"},
		"- {name: a, token: aaaaaaaaaaaaaaaaaaaaaaaa, scopes: [read]}":                        {"has 1 different characters, fewer than 8"},
		"- {name: a, token: " + strings.Repeat(secret, 40) + ", scopes: [read]}":              {"more than 512"},
		"- {name: a, token: \"" + secret + " x\", scopes: [read]}":                            {"characters that a header cannot hold"},
		"- {name: a, token: \"" + secret + "é\", scopes: [read]}":                             {"characters that a header cannot hold"},
		"- {name: a, token: " + secret + ", scopes: [read], expires: tomorrow}":               {"[0].expires: this is no time"},
		"- {name: a, token: " + secret + ", scopes: [read]}\n- {name: a, token: " + secret + ", scopes: [read]}": {
			"t:2: [1].name: a names two tokens", "t:2: [1]: the token is the same as that of a"},
		strings.Repeat("- {}\n", maxTokens+1): {"1001 tokens are listed, 1000 may be"},
	} {
		list, err := parseTokens("t", []byte(text))
		if err == nil {
			t.Errorf("%.80q gives %v", text, list)
			continue
		}
		message := err.Error()
		for _, part := range want {
			if !strings.Contains(message, part) {
				t.Errorf("%.80q: %q lacks %q", text, message, part)
			}
		}
		if strings.Contains(message, secret) {
			t.Errorf("%.80q: the message %q shows what may be a token", text, message)
		}
		if n := len(strings.Split(message, "\n")); n != len(want) {
			t.Errorf("%.80q: %d problems, want %d: %s", text, n, len(want), message)
		}
	}
}

func TestTokensFile(t *testing.T) {
	dir := t.TempDir()
	good := "- {name: ci, token: " + triggerToken + ", scopes: [trigger]}\n"
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		write("private", good, 0o400):                         "",
		write("group", good, 0o440):                           "",
		write("world", good, 0o604):                           "",
		write("writable", good, 0o602):                        "every user of this machine can write to it (mode 0602): chmod o-w",
		write("large", strings.Repeat("#", maxFile+1), 0o600): "more than 1048576 bytes",
		filepath.Join(dir, "none"):                            "there is no such file",
		dir:                                                   "this is no regular file",
		fifo:                                                  "this is no regular file",
		write("bad", "- {name: ci, token: short, scopes: []}", 0o600): "has 5 bytes",
	} {
		core, logs := observer.New(zap.WarnLevel)
		read := tokensReader(path, 10, zap.New(core))
		for range 2 {
			list, err := read()
			if want == "" && (err != nil || len(list) != 1 || list[0].triggers == nil) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %v, %v, want %q", path, list, err, want)
			}
		}
		if warned := logs.Len(); warned != map[bool]int{true: 1}[strings.HasSuffix(path, "world")] {
			t.Errorf("%s: %d warnings", path, warned)
		}
	}
}

// TestConfigErrors names the key of a file that cannot be used at the start, and leaves no listener behind.
func TestConfigErrors(t *testing.T) {
	cfg := Config{Socket: filepath.Join(t.TempDir(), "r.sock"), Tokens: "/nowhere/tokens.yaml", TLS: TLS{Cert: "/nowhere/tls.crt", Key: "/nowhere/tls.key"}}
	_, err := Listen(cfg, newFake().sources(), zap.NewNop())
	if err == nil {
		t.Fatal("files that are not there are taken")
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 2 {
		t.Fatalf("%v, want two problems", err)
	}
	for i, key := range []string{"tokens", "tls"} {
		if e, ok := joined.Unwrap()[i].(*ConfigError); !ok || e.Key != key || !strings.Contains(e.Error(), "there is no such file") {
			t.Errorf("problem %d: %v, want a *ConfigError of %s", i, joined.Unwrap()[i], key)
		}
	}
	if _, err := os.Stat(cfg.Socket); err == nil {
		t.Error("the socket was left behind")
	}
}

// FuzzTokens feeds any file: it gives tokens that are all in order, or an error that shows nothing as long as a token.
func FuzzTokens(f *testing.F) {
	f.Add("- {name: ci, token: " + triggerToken + ", scopes: [trigger]}")
	f.Add("- {name: ci, token_sha256: " + fmt.Sprintf("%x", sha256.Sum256([]byte("x"))) + ", scopes: [read], expires: 2027-01-31T00:00:00Z}")
	f.Add("- &a {name: ci}\n- *a\n- <<: *a")
	f.Add("[]")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseTokens("t", []byte(text))
		if err != nil {
			if list != nil || !strings.HasPrefix(err.Error(), "t:") {
				t.Errorf("%v with error %v", list, err)
			}
			return
		}
		for i, k := range list {
			if !tokenName.MatchString(k.name) || len(k.scopes) == 0 || k.digest == [sha256.Size]byte{} {
				t.Errorf("token %d is %+v", i, k)
			}
		}
	})
}
