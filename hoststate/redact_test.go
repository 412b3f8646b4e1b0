package hoststate

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	const canary = "Hunter2-Canary"
	for _, text := range []string{
		"mysql --password=" + canary + " -h db", "mysql --password '" + canary + "'", "PGPASSWORD=" + canary + " psql", `{"token": "` + canary + `"}`,
		"curl -H 'Authorization: Bearer " + canary + "'", "postgres://app:" + canary + "@db:5432/x", "api_key: " + canary, "AWS_SECRET_ACCESS_KEY=" + canary,
		"-----BEGIN RSA PRIVATE KEY-----\n" + canary + "\n-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n" + canary,
		"client_secret=" + canary + "&x=1", "--db-passwd " + canary,
	} {
		got := Redact(text)
		if strings.Contains(got, canary) || !strings.Contains(got, redacted) {
			t.Errorf("%q became %q", text, got)
		}
	}
	for _, text := range []string{
		"2026-11-22 02:14:06 upgrade libssl3:amd64 3.0.11-1 3.0.15-1", "Failed password for root from 10.0.0.1 port 22 ssh2",
		"systemd-networkd.service: Deactivated successfully.", "nf_conntrack: nf_conntrack: table full, dropping packet", "http://10.0.0.1:8080/path",
	} {
		if got := Redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}
