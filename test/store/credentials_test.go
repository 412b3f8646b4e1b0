package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringside/ringside/upload"
)

// TestCredentials stores objects with credentials from each source.
func TestCredentials(t *testing.T) {
	for _, c := range []struct {
		name  string
		cfg   upload.S3 // added to a configuration without credentials
		env   func(f *fakeAWS, dir string) map[string]string
		form  map[string]string // what STS was asked
		auth  string            // and the Authorization, or what stands for it, began with
		asked int               // times
	}{
		{
			name: "role by static keys",
			cfg: upload.S3{
				RoleARN: "arn:aws:iam::1:role/writer", ExternalID: "ex-1",
				AccessKeyID: "AKIABASE", SecretAccessKey: "base-secret",
			},
			env: func(f *fakeAWS, _ string) map[string]string { return map[string]string{"AWS_ENDPOINT_URL_STS": f.URL} },
			form: map[string]string{
				"Action": "AssumeRole", "RoleArn": "arn:aws:iam::1:role/writer", "ExternalId": "ex-1", "RoleSessionName": "ringside",
			},
			auth:  "AWS4-HMAC-SHA256 Credential=AKIABASE/",
			asked: 1,
		},
		{
			name: "web identity",
			env: func(f *fakeAWS, dir string) map[string]string {
				return map[string]string{
					"AWS_ENDPOINT_URL_STS": f.URL, "AWS_ROLE_ARN": "arn:aws:iam::1:role/irsa",
					"AWS_WEB_IDENTITY_TOKEN_FILE": file(t, dir, "the.pod.token"),
				}
			},
			form: map[string]string{
				"Action": "AssumeRoleWithWebIdentity", "RoleArn": "arn:aws:iam::1:role/irsa", "WebIdentityToken": "the.pod.token",
			},
			asked: 1,
		},
		{
			name: "role by web identity",
			cfg:  upload.S3{RoleARN: "arn:aws:iam::2:role/other-account"},
			env: func(f *fakeAWS, dir string) map[string]string {
				return map[string]string{
					"AWS_ENDPOINT_URL_STS": f.URL, "AWS_ROLE_ARN": "arn:aws:iam::1:role/irsa",
					"AWS_WEB_IDENTITY_TOKEN_FILE": file(t, dir, "the.pod.token"),
				}
			},
			form:  map[string]string{"Action": "AssumeRoleWithWebIdentity", "RoleArn": "arn:aws:iam::1:role/irsa"},
			asked: 2,
		},
		{
			name: "pod identity",
			env: func(f *fakeAWS, dir string) map[string]string {
				return map[string]string{
					"AWS_CONTAINER_CREDENTIALS_FULL_URI":     f.URL + "/v1/credentials",
					"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": file(t, dir, "agent-token"),
				}
			},
			auth:  "agent-token",
			asked: 1,
		},
		{
			name: "instance role",
			env: func(f *fakeAWS, _ string) map[string]string {
				return map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": f.URL, "AWS_EC2_METADATA_DISABLED": "false"}
			},
			auth:  "node-role",
			asked: 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := startAWS(t)
			cfg := bare(t, c.cfg)
			cfg.S3.Endpoint = f.URL
			for k, v := range c.env(f, t.TempDir()) {
				t.Setenv(k, v)
			}
			s := open(t, cfg)
			if _, _, n := f.asked(); n > 0 {
				t.Error("opening the store asked for credentials already")
			}
			for range 2 { // the second uses what the first got
				if err := s.Put(t.Context(), "a", strings.NewReader("x"), upload.PutOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			form, auth, n := f.asked()
			for k, want := range c.form {
				if got := form.Get(k); got != want {
					t.Errorf("STS was asked for %s %q, want %q", k, got, want)
				}
			}
			if !strings.HasPrefix(auth, c.auth) || n != c.asked {
				t.Errorf("asked %d times, first as %q; want %d, %q", n, auth, c.asked, c.auth)
			}
			if len(f.objects) != 2 {
				t.Errorf("%d objects, want 2", len(f.objects))
			}
			for _, h := range f.objects {
				if !strings.Contains(h.Get("Authorization"), "Credential="+givenKey+"/") || h.Get("X-Amz-Security-Token") != givenToken {
					t.Errorf("an object came with %q, token %q", h.Get("Authorization"), h.Get("X-Amz-Security-Token"))
				}
			}
		})
	}
}

// TestNoCredentials says where they were missed.
func TestNoCredentials(t *testing.T) {
	f := startAWS(t)
	for _, c := range []struct {
		name, want string
		denied     bool
		cfg        upload.S3
		env        map[string]string
	}{
		{"none", "no credentials", false, upload.S3{}, nil},
		{
			"role refused", "STS gives no credentials: AccessDenied", true,
			upload.S3{RoleARN: "arn:aws:iam::1:role/forbidden", AccessKeyID: "AKIABASE", SecretAccessKey: "base-secret"},
			map[string]string{"AWS_ENDPOINT_URL_STS": f.URL},
		},
		{
			"token file gone", "no credentials", false, upload.S3{},
			map[string]string{"AWS_ROLE_ARN": "arn:aws:iam::1:role/irsa", "AWS_WEB_IDENTITY_TOKEN_FILE": "/nonexistent/token", "AWS_ENDPOINT_URL_STS": f.URL},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := bare(t, c.cfg)
			cfg.S3.Endpoint = f.URL
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			err := open(t, cfg).Put(t.Context(), "a", strings.NewReader("x"), upload.PutOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, upload.ErrDenied) != c.denied {
				t.Errorf("%v, want %q, denied: %t", err, c.want, c.denied)
			}
			if err != nil && strings.Contains(err.Error(), "base-secret") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

// bare is a configuration in an environment without credentials.
func bare(t *testing.T, s3 upload.S3) upload.Config {
	for _, k := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
	} {
		t.Setenv(k, "")
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	s3.Region, s3.PathStyle = "us-east-1", true
	return upload.Config{To: "s3://evidence/p", S3: s3}
}

func file(t *testing.T, dir, content string) string {
	path := filepath.Join(dir, "token")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
