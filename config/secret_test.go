package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ringside/ringside/upload"
)

// TestSecrets puts a canary into every key whose type is a Secret, found by reflection, right and in the ways people get
// it wrong, beside other problems: no message has it, and no way to print the configuration.
func TestSecrets(t *testing.T) {
	const canary = "c4n4ry"
	paths := secretPaths()
	for _, want := range []string{"upload.s3.secret_access_key", "upload.s3.session_token", "upload.notify.url", "upload.notify.headers.X-Canary"} {
		if !slices.Contains(paths, want) {
			t.Errorf("%s is not found to be a secret", want)
		}
	}
	wrong := []string{ // what stands where the value should
		canary, `"` + canary + `"`, "https://" + canary + "@host/", "https://host/" + canary, `"` + canary + ` with spaces"`,
		`"` + canary + `\n"`, "[" + canary + "]", "{https://host/" + canary + "}", "{x: " + canary + "}",
		"*" + canary, "&" + canary + " x", "!" + canary + " x", "'" + canary, canary + ": x", "{<<: " + canary + "}",
		strings.Repeat("x", 20000) + canary,
	}
	refused := 0
	for _, path := range paths {
		for at := path; at != ""; at = parent(at) { // also where the section above it should stand
			for _, value := range wrong {
				for _, other := range []string{"", "listen: nowhere\n"} {
					_, err := parse("r.yaml", []byte(other+nested(at, value)), noTcpdump)
					if err == nil {
						continue
					}
					refused++
					if strings.Contains(err.Error(), canary) {
						t.Errorf("%s: %.60s: %v", at, value, err)
					}
				}
			}
		}
	}
	if refused < 100 {
		t.Errorf("%d messages were looked at, want at least 100", refused)
	}
}

// TestPrinted prints a configuration that has secrets in every way that Go has.
func TestPrinted(t *testing.T) {
	const canary = "c4n4ry"
	c := Default()
	c.Upload.S3.SecretAccessKey, c.Upload.S3.SessionToken, c.Upload.Notify.URL = canary, canary, canary
	c.Upload.Notify.Headers = map[string]upload.Secret{"Authorization": canary}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(format, c.Upload); strings.Contains(text, canary) {
			t.Errorf("%s shows it: %s", format, text)
		}
	}
}

// secretPaths is the keys of secrets; a mapping of them stands with one of its own names.
func secretPaths() []string {
	var paths []string
	for _, key := range Keys() {
		switch {
		case key.Secret && strings.HasSuffix(key.Path, "headers"):
			paths = append(paths, key.Path+".X-Canary")
		case key.Secret:
			paths = append(paths, key.Path)
		}
	}
	return paths
}

func parent(path string) string { return path[:max(0, strings.LastIndex(path, "."))] }

// nested is the YAML that has value at path.
func nested(path, value string) string {
	var b strings.Builder
	for i, key := range strings.Split(path, ".") {
		fmt.Fprintf(&b, "%s%s:", strings.Repeat("  ", i), key)
		if i < strings.Count(path, ".") {
			b.WriteByte('\n')
		}
	}
	return b.String() + " " + value + "\n"
}
