package store

import (
	"strings"
	"testing"

	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/upload"
)

// TestEnvironment has everything but the bucket from the environment, as the SDK's users know it, certificates included.
func TestEnvironment(t *testing.T) {
	server := s3server.Start(t)
	cfg := bare(t, upload.S3{})
	cfg.S3.Region = ""
	for k, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": server.AccessKey, "AWS_SECRET_ACCESS_KEY": server.SecretKey, "AWS_REGION": server.Region,
		"AWS_ENDPOINT_URL_S3": server.URL, "AWS_CA_BUNDLE": server.CAFile, "AWS_DEFAULTS_MODE": "auto",
	} {
		t.Setenv(k, v)
	}
	s := open(t, cfg)
	if err := s.Put(t.Context(), "a", strings.NewReader("x"), upload.PutOptions{}); err != nil {
		t.Error(err)
	}
	t.Setenv("AWS_REGION", "")
	if _, err := upload.OpenStore(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), "set upload.s3.region") {
		t.Errorf("without a region: %v, want to be told to set it", err)
	}
}
