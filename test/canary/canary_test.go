package canary

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/scene"
)

func TestMain(m *testing.M) { ringside.Main(m) }

// birds are the secrets, by what they are.
type birds map[string]string

// TestCanary searches everything for every secret.
func TestCanary(t *testing.T) {
	s := setting(t)
	hook := listen(t, s)
	b := hatch(t, s)
	o := ringside.Options{
		Namespace: s.Node, Binary: ringside.Binary(t, ""), Dir: s.Dir, Interfaces: "[auto]", Services: "[{name: redis, payload: full}]",
		More: b.yaml(s, hook.url, "wrong secret_access_key", "none"),
	}
	writeTokens(t, s, b)
	r := ringside.Launch(t, o)
	said := b.disturb(t, s, r, hook)

	// Another store's refusal; then the bundle arrives.
	settings := readFile(t, o.Config())
	change := func(secret, token string) {
		text := strings.ReplaceAll(settings, b.yaml(s, hook.url, "wrong secret_access_key", "none"), b.yaml(s, hook.url, secret, token))
		if err := os.WriteFile(o.Config(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change("upload.s3.secret_access_key", "upload.s3.session_token")
	until(t, r, "/v1/incidents?local", "InvalidToken")
	said["failing: session token"] = get(t, r, "/v1/incidents?local")
	change("upload.s3.secret_access_key", "none")
	until(t, r, "/metrics", "\nringside_upload_bundles_total 1")
	for _, path := range []string{"/metrics", "/readyz?verbose", "/v1/incidents?suppressed"} {
		said["GET "+path] = get(t, r, path)
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	said["log"] = r.Log()
	for name, text := range files(t, s.Node.Path(filepath.Join(s.Dir, "spool", "incidents"))) {
		said["journal "+name] = text
	}
	for name, text := range files(t, s.Node.Path(filepath.Join(s.Dir, "spool", "timeline"))) {
		said["timeline "+name] = text
		if strings.HasSuffix(name, ".jsonl") && !strings.Contains(text, "log in with password=[redacted]") {
			t.Errorf("%s lacks what was observed", name)
		}
	}
	for name, text := range stored(t, s) {
		said["store "+name] = text
	}
	b.search(t, said)
}

// disturb has the recorder meet every refusal that involves a secret, and returns what was answered.
func (b birds) disturb(t *testing.T, s *scene.Scene, r *ringside.Recorder, hook *webhook) map[string]string {
	t.Helper()
	said := map[string]string{}
	if status, answer, err := r.Post("/v1/triggers", `{"reason": "canary", "pre": "1s", "post": "1s"}`); err != nil || status != http.StatusAccepted {
		t.Fatalf("trigger: %d %s %v", status, answer, err)
	}
	observed := fmt.Sprintf(`{"what": "cannot log in with password=%s"}`, b["token"])
	if status, answer, err := r.Post("/v1/observations", observed); err != nil || status != http.StatusAccepted {
		t.Fatalf("observation: %d %s %v", status, answer, err)
	}
	until(t, r, "/v1/incidents?local", "SignatureDoesNotMatch")
	select { // the webhook is told, with the secrets, that the bundle cannot be stored
	case request := <-hook.requests:
		for _, key := range []string{"upload.notify.url", "upload.notify.headers"} {
			if !strings.Contains(request, b[key]) {
				t.Errorf("the webhook did not get %s: %s", key, request)
			}
		}
	case <-time.After(time.Minute):
		t.Error("the webhook was not called")
	}
	for _, path := range []string{"/metrics", "/readyz?verbose", "/v1/incidents?suppressed", "/v1/incidents?local"} {
		said["failing: GET "+path] = get(t, r, path)
	}
	for name, script := range map[string]string{
		"ls":          "ringside incidents ls -c config.yaml --server unix://$PWD/sock; ringside incidents ls -c config.yaml --json",
		"good token":  "curl -svi http://127.0.0.1:9409/v1/incidents -H 'Authorization: Bearer " + b["token"] + "' 2>/dev/null",
		"wrong token": "curl -si http://127.0.0.1:9409/v1/incidents -H 'Authorization: Bearer " + b["wrong token"] + "'",
		"bad file":    "sed 's/^listen:.*/listen: nowhere/; s/timeout: 5s/timeout: 5/' config.yaml >bad.yaml; ringside run -c bad.yaml",
		"no mapping":  "sed 's/^upload:.*/upload: " + b["upload.s3.session_token"] + "/' config.yaml >bad.yaml; ringside run -c bad.yaml",
	} {
		out, _ := s.Output(t.Context(), script) // most of them fail
		if out == "" {
			t.Errorf("%s says nothing", name)
		}
		said[name] = out
	}
	return said
}

// search fails for every secret that is anywhere.
func (b birds) search(t *testing.T, said map[string]string) {
	t.Helper()
	total := 0
	delete(b, "none")
	for where, text := range said {
		total += len(text)
		for what, canary := range b {
			forms := []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), url.QueryEscape(canary)}
			for _, form := range forms {
				if i := strings.Index(text, form); i >= 0 {
					t.Errorf("%s is in %s: ...%.200q", what, where, text[max(0, i-100):])
				}
			}
		}
	}
	if len(said) < 15 || total < 20000 {
		t.Errorf("only %d texts of %d bytes were searched", len(said), total)
	}
	t.Logf("%d secrets were looked for in %d texts of %d bytes", len(b), len(said), total)
}

// hatch gives a value to each secret key of the configuration, and to tokens. The store's is what the store knows.
func hatch(t *testing.T, s *scene.Scene) birds {
	t.Helper()
	b := birds{"none": "auto", "token": "token-" + rand.Text(), "wrong token": "token-" + rand.Text(), "wrong secret_access_key": rand.Text()}
	for _, key := range config.Keys() {
		if key.Secret {
			b[key.Path] = "canary-" + rand.Text()
		}
	}
	for _, key := range []string{"upload.s3.secret_access_key", "upload.s3.session_token", "upload.notify.url", "upload.notify.headers"} {
		if b[key] == "" {
			t.Fatalf("%s is no secret: %v", key, b)
		}
	}
	if len(b) != 8 {
		t.Fatalf("there are secret keys that this test does not use: %v", b)
	}
	b["upload.s3.secret_access_key"] = s.S3.SecretKey
	return b
}

// yaml is the sections that have secrets.
func (b birds) yaml(s *scene.Scene, hook, secret, token string) string {
	return fmt.Sprintf(`tokens: %s
trigger: {cooldown: 1s}
upload:
  to: s3://%s/canary
  s3: {endpoint: %q, region: %s, path_style: true, ca_file: %s, timeout: 5s, access_key_id: %s, secret_access_key: %s, session_token: %s}
  notify: {url: %q, headers: {X-Canary: %s}, after: 1s}`, filepath.Join(s.Dir, "tokens.yaml"), s.S3.Bucket, s.S3.URL, s.S3.Region, s.S3.CAFile,
		s.S3.AccessKey, b[secret], b[token], hook+"/"+b["upload.notify.url"], b["upload.notify.headers"])
}

func writeTokens(t *testing.T, s *scene.Scene, b birds) {
	t.Helper()
	text := fmt.Sprintf("- {name: reader, token: %s, scopes: [read]}\n", b["token"])
	if err := os.WriteFile(filepath.Join(s.Dir, "tokens.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
