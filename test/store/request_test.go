package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/test/faultproxy"
	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/upload"
)

const part = 5 << 20

// TestHeaders asserts on the requests themselves what a real S3 would act upon: of an object in one piece, one in parts,
// and a conditional one. The writer asks for nothing that its role does not allow.
func TestHeaders(t *testing.T) {
	p := faultproxy.Start(t, s3server.Start(t))
	cfg := p.Config("p")
	cfg.S3.SSE, cfg.S3.KMSKey = "aws:kms", "arn:aws:kms:eu-central-1:1:key/k-1"
	cfg.S3.StorageClass = "STANDARD_IA"
	cfg.S3.Tags = map[string]string{"team": "on call", "cost": "a=b/c:d"}
	s := open(t, cfg)
	for _, err := range []error{
		s.Put(t.Context(), "one", strings.NewReader("x"), upload.PutOptions{Size: 1, Type: "application/vnd.tcpdump.pcap"}),
		s.Put(t.Context(), "parts", bytes.NewReader(make([]byte, part+1)), upload.PutOptions{Type: "application/zstd"}),
		s.PutNew(t.Context(), "new", []byte("{}"), upload.PutOptions{Type: "application/json"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{ // which requests there are, and their Content-Type
		"PUT /evidence/p/one": "application/vnd.tcpdump.pcap", "POST /evidence/p/parts": "application/zstd", "PUT /evidence/p/new": "application/json",
	}
	parts := 0
	for _, r := range p.Requests() {
		path, query, _ := strings.Cut(r.URL, "?")
		if strings.Contains(query, "uploadId=") { // of parts, and the completion: only the beginning says how it is kept
			parts++
			continue
		}
		contentType, ok := want[r.Method+" "+path]
		delete(want, r.Method+" "+path)
		conditional := map[bool]string{true: "*"}[path == "/evidence/p/new"]
		for header, value := range map[string]string{
			"Content-Type": contentType, "If-None-Match": conditional, "X-Amz-Storage-Class": "STANDARD_IA",
			"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "arn:aws:kms:eu-central-1:1:key/k-1",
			"X-Amz-Tagging": "cost=a%3Db%2Fc%3Ad&team=on+call",
		} {
			if got := r.Header.Get(header); !ok || got != value {
				t.Errorf("%s %s: %s %q, want %q", r.Method, r.URL, header, got, value)
			}
		}
	}
	if len(want) > 0 || parts != 3 {
		t.Errorf("not asked: %v; %d requests about parts, want 3", want, parts)
	}
}

// TestChecksums has each algorithm checked by the server, in one piece, in parts, and conditionally.
func TestChecksums(t *testing.T) {
	p := faultproxy.Start(t, s3server.Start(t))
	data := bytes.Repeat([]byte("ringside"), (part+8)/8)
	for _, algorithm := range []string{"", "CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME", "none"} {
		t.Run("checksum "+algorithm, func(t *testing.T) {
			p.Forget()
			cfg := p.Config("sum-" + algorithm)
			cfg.S3.Checksum = algorithm
			s := open(t, cfg)
			for key, size := range map[string]int{"small": 10, "large": len(data)} {
				if err := s.Put(t.Context(), key, bytes.NewReader(data[:size]), upload.PutOptions{}); err != nil {
					t.Fatal(err)
				}
				r, _, err := s.Get(t.Context(), key, 0)
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(r); !bytes.Equal(b, data[:size]) || err != nil {
					t.Errorf("%s: %d other bytes, %v", key, len(b), err)
				}
				r.Close()
			}
			if err := s.PutNew(t.Context(), "new", data[:10], upload.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			name := "x-amz-checksum-" + strings.ToLower(algorithm)
			if algorithm == "" {
				name = "x-amz-checksum-crc32"
			}
			sent := 0
			for _, r := range p.Requests() {
				if r.Method != http.MethodPut {
					continue
				}
				if r.Header.Get("X-Amz-Trailer") == name || r.Header.Get(name) != "" {
					sent++
				}
				if algorithm == "none" && r.Header.Get("X-Amz-Trailer") != "" {
					t.Errorf("none sends %q", r.Header.Get("X-Amz-Trailer"))
				}
			}
			if want := map[bool]int{false: 4}[algorithm == "none"]; sent != want { // two objects in one piece, one of two parts
				t.Errorf("%d requests with %s, want %d", sent, name, want)
			}
		})
	}
	if _, err := upload.OpenStore(t.Context(), upload.Config{To: "s3://b", S3: upload.S3{Region: "r", Checksum: "MD5"}}, nil); err == nil {
		t.Error("a checksum that S3 has not was taken")
	}
}

// TestRefused is what the server says to who may not, and what the store makes of it.
func TestRefused(t *testing.T) {
	server := s3server.Start(t)
	for _, c := range []struct {
		name   string
		change func(*upload.Config)
		want   string
		denied bool
	}{
		{"wrong secret", func(c *upload.Config) { c.S3.SecretAccessKey = "wrong-secret" }, "SignatureDoesNotMatch", true},
		{"unknown key", func(c *upload.Config) { c.S3.AccessKeyID = "AKIANOBODY" }, "access key does not exist", true},
		{"no such bucket", func(c *upload.Config) { c.To = "s3://elsewhere/x" }, "there is no bucket elsewhere", false},
		{"other region", func(c *upload.Config) { c.S3.Region = "eu-central-1" }, "set upload.s3.region", false},
		{"untrusted", func(c *upload.Config) { c.S3.CAFile = "" }, "certificate signed by unknown authority", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := server.Config("x")
			c.change(&cfg)
			s := open(t, cfg)
			var asking sync.WaitGroup // each may be tried again for seconds
			for what, ask := range map[string]func() error{
				"put": func() error {
					return s.Put(t.Context(), "a", strings.NewReader("x"), upload.PutOptions{})
				},
				"in parts": func() error {
					return s.Put(t.Context(), "a", bytes.NewReader(make([]byte, part+1)), upload.PutOptions{})
				},
				"put new": func() error { return s.PutNew(t.Context(), "a", []byte("x"), upload.PutOptions{}) },
				"get":     func() error { _, _, err := s.Get(t.Context(), "a", 0); return err },
				"folders": func() error { _, err := s.Folders(t.Context(), ""); return err },
			} {
				asking.Go(func() {
					err := ask()
					switch {
					case err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, upload.ErrDenied) != c.denied ||
						errors.Is(err, upload.ErrNotFound):
						t.Errorf("%s: %v, want %q, denied: %t", what, err, c.want, c.denied)
					case strings.Contains(err.Error(), "wrong-secret") || strings.Contains(err.Error(), "X-Amz-"):
						t.Errorf("%s tells a secret: %v", what, err)
					}
				})
			}
			asking.Wait()
		})
	}
}

// TestLinks follows presigned URLs as anyone could: one that holds, one that was changed, and one until it has expired.
func TestLinks(t *testing.T) {
	server := s3server.Start(t)
	s, anyone := open(t, server.Config("p")), client(t, server)
	data := bytes.Repeat([]byte{1, 2, 3}, 100_000)
	if err := s.Put(t.Context(), "a", bytes.NewReader(data), upload.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	follow := func(url string) (int, []byte) {
		resp, err := anyone.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, b
	}
	good, err := s.Link(t.Context(), "a", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if code, b := follow(good); code != http.StatusOK || sha256.Sum256(b) != sha256.Sum256(data) {
		t.Errorf("a link: %d, %d bytes", code, len(b))
	}
	if code, _ := follow(strings.Replace(good, "/p/a?", "/p/b?", 1)); code != http.StatusForbidden {
		t.Errorf("the link of another object: %d, want 403", code)
	}
	if strings.Contains(good, server.SecretKey) || strings.Contains(good, base64.StdEncoding.EncodeToString([]byte(server.SecretKey))) {
		t.Error("the link tells the secret")
	}
	short, err := s.Link(t.Context(), "a", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for { // until it has expired: the test's own deadline is the only one
		code, b := follow(short)
		if code == http.StatusForbidden && bytes.Contains(b, []byte("expired")) {
			break
		}
		if code != http.StatusOK {
			t.Fatalf("a link of a second: %d %s", code, b)
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, ttl := range []time.Duration{0, -time.Second, 8 * 24 * time.Hour} {
		if _, err := s.Link(t.Context(), "a", ttl); err == nil {
			t.Errorf("a link for %v was made", ttl)
		}
	}
}
