package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logged is a log whose lines can be waited for.
func logged() (*zap.Logger, <-chan string) {
	lines := make(chan string, 1000)
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), zapcore.AddSync(io.Discard), zap.DebugLevel)
	return zap.New(core, zap.Hooks(func(e zapcore.Entry) error { lines <- e.Level.String() + " " + e.Message; return nil })), lines
}

// await reads lines until one has the text. Whatever should not come in between is in never.
func await(t *testing.T, lines <-chan string, text, never string) {
	t.Helper()
	for {
		select {
		case line := <-lines:
			if strings.Contains(line, text) {
				return
			}
			if never != "" && strings.Contains(line, never) {
				t.Fatalf("logged %q before %q", line, text)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing with %q was logged", text)
		}
	}
}

// start runs a server on loopback and returns where it listens.
func start(t *testing.T, cfg Config, s Sources, log *zap.Logger) (*Server, string) {
	t.Helper()
	cfg.Socket, cfg.Drain = filepath.Join(t.TempDir(), "r.sock"), time.Second
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	srv, err := Listen(cfg, s, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return srv, srv.Addresses()[1].String()
}

// swap publishes files as a ConfigMap or Secret does: in a new directory, to which the link ..data is turned by a rename.
func swap(t *testing.T, dir string, version int, files map[string]string) {
	t.Helper()
	data := fmt.Sprintf("..%d", version)
	if err := os.Mkdir(filepath.Join(dir, data), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, data, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := os.Readlink(filepath.Join(dir, "..data"))
	if err := os.Symlink(data, filepath.Join(dir, "..data_tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for name := range files {
		os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)) // there already from the second time on
	}
	if before != "" {
		os.RemoveAll(filepath.Join(dir, before))
	}
}

// TestTokensReload follows the file of tokens through swaps: a bad one changes nothing, is logged once and shown.
func TestTokensReload(t *testing.T) {
	dir := t.TempDir()
	entry := func(token string) map[string]string {
		return map[string]string{"tokens.yaml": "- {name: ci, token: " + token + ", scopes: [packets]}\n"}
	}
	swap(t, dir, 0, entry(triggerToken))
	log, lines := logged()
	f := newFake()
	srv, address := start(t, Config{Tokens: filepath.Join(dir, "tokens.yaml")}, f.sources(), log)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	status := func(token string) int {
		req, err := http.NewRequest(http.MethodGet, "http://"+address+"/v1/packets", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	expect := func(when, good, bad string) {
		t.Helper()
		if g, b := status(good), status(bad); g != 200 || b != 401 {
			t.Errorf("%s: the token in force gets %d, the other %d", when, g, b)
		}
	}
	expect("at first", triggerToken, readToken)

	swap(t, dir, 1, entry(readToken))
	await(t, lines, "info tokens: the new file is in force", "error")
	expect("after a swap", readToken, triggerToken)

	swap(t, dir, 2, map[string]string{"tokens.yaml": "- {name: ci, token: short, scopes: [packets]}\n"})
	await(t, lines, "error tokens: the new file cannot be used", "in force")
	expect("after a bad file", readToken, triggerToken)
	faults := srv.Stats().Faults
	if len(faults) != 1 || faults[0].What != "tokens" || !strings.Contains(faults[0].Text, "tokens.yaml:1: [0].token: the token has 5 bytes") {
		t.Errorf("faults %+v", faults)
	}
	if res, err := client.Get("http://" + address + "/readyz?verbose"); err != nil {
		t.Error(err)
	} else {
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if !strings.Contains(string(body), "tokens: the new file is not in force since") || !strings.Contains(string(body), "has 5 bytes") {
			t.Errorf("readyz?verbose does not show the fault: %s", body)
		}
	}
	srv.tokens.reload() // the same fault again is no news
	srv.tokens.reload()

	swap(t, dir, 3, entry(readToken))
	await(t, lines, "info tokens: the new file is in force", "error")
	expect("after the old tokens again", readToken, triggerToken)
	if faults := srv.Stats().Faults; len(faults) != 0 {
		t.Errorf("faults %+v after a good file", faults)
	}
}

// TestTokensReplaced follows a plain file that an editor replaces, and one that is taken away.
func TestTokensReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	replace := func(token string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte("- {name: ci, token: "+token+", scopes: [read]}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace(triggerToken)
	log, lines := logged()
	srv, _ := start(t, Config{Tokens: path}, newFake().sources(), log)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	await(t, lines, "error tokens: the new file cannot be used", "")
	if srv.tokens.value().find(triggerToken) == nil {
		t.Error("a file that is gone takes the tokens with it")
	}
	replace(readToken)
	await(t, lines, "info tokens: the new file is in force", "")
	if srv.tokens.value().find(triggerToken) != nil || srv.tokens.value().find(readToken) == nil {
		t.Error("the new file is not in force")
	}
}

// newCertificate returns a certificate for 127.0.0.1 and its key, in PEM.
func newCertificate(t *testing.T, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "ringside"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// TestCertificateReload serves the newest certificate whose key fits, without a restart.
func TestCertificateReload(t *testing.T) {
	dir := t.TempDir()
	cert, key := newCertificate(t, 1)
	swap(t, dir, 0, map[string]string{"tls.crt": cert, "tls.key": key})
	log, lines := logged()
	srv, address := start(t, Config{TLS: TLS{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}}, newFake().sources(), log)
	serial := func() int64 {
		t.Helper()
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(cert)) {
			t.Fatal("no certificate")
		}
		transport := &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
		res, err := (&http.Client{Transport: transport}).Get("https://" + address + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 || res.ProtoMajor != 1 {
			t.Errorf("%s %s", res.Proto, res.Status)
		}
		return res.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Fatalf("certificate %d, want 1", got)
	}
	other, _ := newCertificate(t, 2)
	swap(t, dir, 1, map[string]string{"tls.crt": other, "tls.key": key})
	await(t, lines, "error certificate: the new file cannot be used", "")
	if got := serial(); got != 1 {
		t.Errorf("certificate %d while the new one's key does not fit, want 1", got)
	}
	cert, key = newCertificate(t, 3)
	swap(t, dir, 2, map[string]string{"tls.crt": cert, "tls.key": key})
	await(t, lines, "info certificate: the new file is in force", "")
	if got := serial(); got != 3 {
		t.Errorf("certificate %d after the swap, want 3", got)
	}
	if left := time.Until(srv.Stats().Expires); left < 50*time.Minute || left > time.Hour {
		t.Errorf("the certificate ends in %v", left)
	}

	if _, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is taken")
	}
	res, err := http.Get("http://" + address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != 400 || !strings.Contains(string(body), "HTTPS") {
		t.Errorf("plain HTTP: %d %s", res.StatusCode, body)
	}
}
