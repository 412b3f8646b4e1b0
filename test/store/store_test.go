package store

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/upload"
	"github.com/ringside/ringside/upload/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConformance runs over TLS what every store is held to. No store's prefix lies in another's.
func TestConformance(t *testing.T) {
	server := s3server.Start(t)
	n := 0
	storetest.Run(t, client(t, server), func(t *testing.T) upload.Store {
		n++
		return open(t, server.Config(strings.Repeat("p/", n)+"prefix of"))
	})
}

// TestHostStyle has the bucket in the host's name, and no prefix.
func TestHostStyle(t *testing.T) {
	server := s3server.Start(t)
	cfg := server.Config("")
	cfg.S3.PathStyle = false
	cfg.S3.Endpoint = strings.Replace(cfg.S3.Endpoint, "127.0.0.1", s3server.VirtualHost, 1)
	s := open(t, cfg)
	data := make([]byte, part+1)
	if err := s.Put(t.Context(), "a/b", bytes.NewReader(data), upload.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	url, err := s.Link(t.Context(), "a/b", time.Minute)
	if err != nil || !strings.HasPrefix(url, "https://"+server.Bucket+"."+s3server.VirtualHost) {
		t.Fatalf("link: %s, %v", url, err)
	}
	resp, err := client(t, server).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || len(b) != len(data) || err != nil {
		t.Errorf("by the link: %d, %d bytes, %v", resp.StatusCode, len(b), err)
	}
	if s.String() != "s3://evidence" {
		t.Errorf("the store calls itself %s", s)
	}
}

// open opens a store whose connections end with the test, and all lead to loopback.
func open(t *testing.T, cfg upload.Config) upload.Store {
	t.Helper()
	s, err := upload.OpenStore(t.Context(), cfg, loopback(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func loopback(t *testing.T) upload.Dial {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return conn, err
	}
}

// client trusts the server, and is one that anybody could have.
func client(t *testing.T, s *s3server.Server) *http.Client {
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, DialContext: loopback(t), DisableKeepAlives: true,
	}}
}
