package upload_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringside/ringside/upload"
)

func TestOpenStore(t *testing.T) {
	noCert := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noCert, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cfg  upload.Config
		want string // what the store calls itself, or a part of the error
		bad  bool
	}{
		{"directory", upload.Config{To: "file:///srv/x/"}, "file:///srv/x", false},
		{"bucket", upload.Config{To: "s3://b", S3: upload.S3{Region: "r"}}, "s3://b", false},
		{"prefix", upload.Config{To: "s3://b/p/q/", S3: upload.S3{Region: "r"}}, "s3://b/p/q", false},
		{"server that is away", upload.Config{To: "s3://b", S3: upload.S3{Endpoint: "https://127.0.0.1:1"}}, "s3://b", false},
		{"nothing", upload.Config{}, "write s3://BUCKET/PREFIX or file:///DIRECTORY", true},
		{"no bucket", upload.Config{To: "s3:///x"}, "is no store", true},
		{"relative", upload.Config{To: "file://dir/x"}, "is no store", true},
		{"path alone", upload.Config{To: "/srv/x"}, "is no store", true},
		{"another scheme", upload.Config{To: "gs://b/x"}, "is no store", true},
		{"password", upload.Config{To: "s3://user:hunter2@b/x"}, "has a user", true},
		{"password in no URL", upload.Config{To: "s3://user:hunter2@b:x/%zz"}, "is not a URL", true},
		{"bad prefix", upload.Config{To: "s3://b/a//b", S3: upload.S3{Region: "r"}}, "upload.to: key", true},
		{"endpoint without scheme", upload.Config{To: "s3://b", S3: upload.S3{Endpoint: "minio:9000"}}, "upload.s3.endpoint", true},
		{"password in endpoint", upload.Config{To: "s3://b", S3: upload.S3{Endpoint: "https://u:hunter2@minio"}}, "upload.s3.endpoint", true},
		{"no CA file", upload.Config{To: "s3://b", S3: upload.S3{Region: "r", CAFile: "/nonexistent"}}, "upload.s3.ca_file", true},
		{"CA file without any", upload.Config{To: "s3://b", S3: upload.S3{Region: "r", CAFile: noCert}}, "no certificate", true},
		{"checksum", upload.Config{To: "s3://b", S3: upload.S3{Region: "r", Checksum: "MD5"}}, "CRC64NVME", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := upload.OpenStore(t.Context(), c.cfg, nil)
			switch {
			case c.bad && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2")):
				t.Errorf("%v, want %q and no secret", err, c.want)
			case !c.bad && (err != nil || s.String() != c.want):
				t.Errorf("%v, %v, want %s", s, err, c.want)
			}
		})
	}
}
