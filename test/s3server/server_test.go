package s3server

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestServer starts, kills and restarts a server: it answers over TLS that its CA vouches for, at the same address, and
// refuses who has no signature.
func TestServer(t *testing.T) {
	s := Start(t)
	url := s.URL
	ask := func() (int, error) {
		pool := x509.NewCertPool()
		pem, err := os.ReadFile(s.CAFile)
		if err != nil || !pool.AppendCertsFromPEM(pem) {
			t.Fatal("no certificate in CAFile", err)
		}
		client := http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true,
		}}
		resp, err := client.Get(s.URL + "/" + s.Bucket)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	if code, err := ask(); code != http.StatusForbidden {
		t.Errorf("unsigned request: %d, %v, want 403", code, err)
	}
	s.Stop()
	if code, err := ask(); err == nil {
		t.Errorf("answered %d after Stop", code)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if code, err := ask(); code != http.StatusForbidden || s.URL != url {
		t.Errorf("after Restart: %d, %v from %s, want 403 from %s", code, err, s.URL, url)
	}
}
