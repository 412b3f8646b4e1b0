package config

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestBad holds the message of every bad file against its golden file: each problem with its line, key and cure.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d bad files, %v: at least 50 are expected", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			text := readFile(t, file)
			_, err := parse(name+".yaml", []byte(text), noTcpdump)
			var all *Error
			if !errors.As(err, &all) {
				t.Fatalf("error %v, want a *config.Error", err)
			}
			for _, p := range all.Problems {
				if p.Line < 1 || p.Line > strings.Count(text, "\n")+1 {
					t.Errorf("line %d of a file of %d lines", p.Line, strings.Count(text, "\n"))
				}
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := readFile(t, golden); got != want {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}

// TestOneProblemEach guards the corpus against files that are bad for another reason than their name says.
func TestOneProblemEach(t *testing.T) {
	counts := map[string]int{"many": 11, "unknown-key-nested": 3, "unknown-key-later": 2, "port-range": 7, "cidr": 5, "payload": 3, "interface-name": 3,
		"many-uploads": 10}
	files, _ := filepath.Glob("testdata/*.bad.yaml")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".bad.yaml")
		want := max(1, counts[name])
		_, err := parse(name, []byte(readFile(t, file)), noTcpdump)
		var all *Error
		if errors.As(err, &all); all == nil || len(all.Problems) != want {
			t.Errorf("%s: %v, want %d problems", name, err, want)
		}
	}
}

func TestGood(t *testing.T) {
	c, err := Load("testdata/full.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Listen, want.Socket, want.ShutdownTimeout = "[::1]:9500", "/tmp/ringside.sock", 5*time.Second
	want.Log = Log{Level: "debug", Format: "json"}
	want.Capture.Ring = 128 << 20
	want.Capture.Interfaces = []capture.InterfaceRule{
		{Name: "auto"}, {Name: "eth1"}, {Name: "veth*"},
		{Name: "cali*", Require: true, Ring: "own"}, {Name: "eth2", Ring: "shared"},
	}
	redis := preset(t, "redis")
	redis.Payload = filter.Full
	want.Capture.Services = []filter.Service{
		preset(t, "postgres"), redis,
		{
			Name: "orders", Protocol: "tcp", Payload: 64,
			Ports: []filter.PortRange{{First: 3306, Last: 3306}, {First: 9000, Last: 9010}, {First: 9020, Last: 9030}},
			CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("192.0.2.7/32")},
		},
		{Name: "one", Ports: []filter.PortRange{{First: 3307, Last: 3307}}, CIDRs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	}
	want.Rotate.Dir, want.Rotate.Every, want.Rotate.MaxSize = "/srv/spool", time.Minute, 3<<29
	want.Rotate.Keep.Bytes, want.Rotate.Keep.Age, want.Rotate.Keep.Free = 20e9, 36*time.Hour, 0.125
	want.Rotate.WriteLimit = 50e6
	want.Cluster, want.Node = "prod-eu", "node_1.example.com"
	want.MetricsListen, want.Hosts = "0.0.0.0:9410", []string{"ringside.example.com", "192.0.2.1", "fd00::1"}
	want.Tokens, want.TLS = "/etc/ringside/tokens.yaml", api.TLS{Cert: "/etc/ringside/tls.crt", Key: "/etc/ringside/tls.key"}
	want.TriggerRate = 0.5
	want.Trigger = trigger.Config{
		Pre: 5 * time.Minute, Post: 150 * time.Second, MaxWindow: time.Hour, Cooldown: time.Second, Rate: 100.5,
		DropDir: "/run/ringside/triggers", Budget: trigger.Budget{Incidents: 60, Bytes: 1 << 40, Pinned: 50 << 30},
		Rules: []trigger.Rule{
			{On: "unit.* systemd-*.service"},
			{
				On: "log unattended-upgrades: /will be: upgraded/", Reason: "upgrade", Labels: map[string]string{"team": "node", "n": "1"},
				Pre: new(10 * time.Second), Post: new(time.Duration(0)), Cooldown: new(24 * time.Hour),
			},
		},
		Schedules: []trigger.Schedule{
			{Cron: "@daily"},
			{
				Cron: "*/5 2-4 * * mon-fri", Zone: "America/New_York", Reason: "nightly", Pre: new(time.Duration(0)), Post: new(5 * time.Minute),
				Labels: map[string]string{"team": "node"},
			},
		},
	}
	want.Detect = Detect{Enable: false, Conversations: 100_000}
	want.Hoststate = Hoststate{
		Watch: []string{"conntrack", "units"}, Root: "/host", Units: []string{"default", "my-*.service"},
		Logs: []LogFile{
			{Name: "dpkg"},
			{Name: "backup", Path: "/var/log/backup/*.log", Match: "failed|finished", Time: "2006-01-02 15:04:05", Kind: "log"},
			{Name: "orders", Path: "/var/log/orders.json", Kind: "observation"},
		},
		Conntrack: Conntrack{Digest: time.Minute, Buffer: 64 << 20}, Keep: HostKeep{Bytes: 1 << 30},
	}
	want.Upload = upload.Config{
		To: "s3://bucket.example/some/prefix", Compression: "gzip", RateLimit: 10e6, Cluster: "prod-eu", Node: "node_1.example.com",
		S3: upload.S3{
			Endpoint: "https://minio.example:9000", Region: "eu-central-1", PathStyle: true, StorageClass: "STANDARD_IA",
			SSE: "aws:kms", KMSKey: "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
			Tags: map[string]string{"team": "storage", "cost center": "42"}, RoleARN: "arn:aws:iam::111122223333:role/ringside-writer",
			ExternalID: "abc123", Checksum: "SHA256", CAFile: "/etc/ringside/ca.pem", PartSize: 16 << 20, Concurrency: 4,
			Timeout: time.Minute, AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
			SessionToken: "FwoGZXIvYXdzEXAMPLE==",
		},
		Notify: upload.Notify{
			URL: "https://hooks.example/T000/B000/XXXX", Headers: map[string]upload.Secret{"Authorization": "Bearer abc", "X-Team": "storage"},
			Format: "slack", After: 30 * time.Minute,
		},
	}
	if !reflect.DeepEqual(settingsOf(c), settingsOf(want)) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestGoodVariants(t *testing.T) {
	words := Default()
	words.Listen, words.Rotate.Keep.Free = None, leastShare
	shared := Default()
	service := filter.Service{
		Name: "orders", Ports: []filter.PortRange{{First: 3306, Last: 3306}},
		CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	carts := service
	carts.Name = "carts"
	shared.Capture.Services = []filter.Service{service, carts}
	for file, want := range map[string]*Config{
		"": Default(), "testdata/empty.good.yaml": Default(), "testdata/commented.good.yaml": Default(),
		"testdata/words.good.yaml": words, "testdata/aliases.good.yaml": shared,
	} {
		c, err := Load(file)
		if err != nil || !reflect.DeepEqual(settingsOf(c), settingsOf(want)) {
			t.Errorf("%q: %+v, %v, want %+v", file, c, err, want)
		}
	}
}

// TestNode takes node: auto from the environment, else from the host, and refuses what cannot be part of a key.
func TestNode(t *testing.T) {
	t.Setenv("NODE_NAME", "ip-10-0-0-1.ec2.internal")
	for _, text := range []string{"", "node: auto\n"} {
		c, err := parse("r.yaml", []byte(text), noTcpdump)
		if err != nil || c.Node != "ip-10-0-0-1.ec2.internal" || c.Upload.Node != c.Node || c.Upload.Cluster != "default" {
			t.Errorf("%q: %v, node %q, cluster %q of uploads", text, err, c.Upload.Node, c.Upload.Cluster)
		}
	}
	t.Setenv("NODE_NAME", "../x")
	want := `r.yaml:1: node: auto is "../x", which cannot be part of a key: `
	if _, err := parse("r.yaml", nil, noTcpdump); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	if c, err := parse("r.yaml", []byte("node: n1\n"), noTcpdump); err != nil || c.Upload.Node != "n1" {
		t.Errorf("node: n1 gives %v", err)
	}
	t.Setenv("NODE_NAME", "")
	if host, _ := os.Hostname(); Default().Node != host {
		t.Errorf("node %q, want the host's name %q", Default().Node, host)
	}
}

// TestDefaultServices holds the default list against the presets: each must exist, and the bulky ones must be absent.
func TestDefaultServices(t *testing.T) {
	var names []string
	for _, s := range Default().Capture.Services {
		names = append(names, s.Name)
	}
	if !slices.Equal(names, defaultServices) {
		t.Errorf("default services %v, want %v", names, defaultServices)
	}
	if slices.Contains(names, "http") || slices.Contains(names, "https") {
		t.Errorf("http is recorded by default: %v", names)
	}
}

func TestUnreadable(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(large, make([]byte, maxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"testdata/absent.yaml": "testdata/absent.yaml: there is no such file: give another path with -c, or leave -c out to run on the defaults",
		"testdata":             "testdata: is a directory",
		large:                  large + ": the file has more than 1048576 bytes: is it the right one?",
	} {
		c, err := Load(path)
		var all *Error
		if !errors.As(err, &all) || err.Error() != want {
			t.Errorf("Load(%s) = %v, %v, want the error %q", path, c, err, want)
		}
	}
}

// TestExpressions has tcpdump judge expressions, as Load does: a bad one is reported beside other problems.
func TestExpressions(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("tcpdump is not installed: apt-get install tcpdump")
	}
	file := filepath.Join(t.TempDir(), "x.yaml")
	text := "capture:\n  services:\n    - {name: good, filter: tcp port 3306}\n    - {name: bad, filter: tcp prt 3306}\nlisten: here\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Load(file)
	var all *Error
	if !errors.As(err, &all) || len(all.Problems) != 2 {
		t.Fatalf("error %v, want two problems", err)
	}
	if p := all.Problems[0]; p.Line != 4 || p.Key != "capture.services[1].filter" || !strings.Contains(p.Text, "syntax error") {
		t.Errorf("problem %+v, want tcpdump's own words on line 4", p)
	}
}

func TestTooManyServices(t *testing.T) {
	text := "capture:\n  services:\n"
	for i := range maxServices + 1 {
		text += fmt.Sprintf("    - {name: s%d, ports: [1]}\n", i)
	}
	_, err := parse("r.yaml", []byte(text), noTcpdump)
	if want := "r.yaml:3: capture.services: 501 services are listed: at most 500 are possible"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// noTcpdump stands for tcpdump where expressions are not what is tested: it refuses what begins with "bad".
func noTcpdump(s filter.Service) error {
	if strings.HasPrefix(s.Expression, "bad") {
		return errors.New("can't parse filter expression: syntax error")
	}
	return nil
}

// TestProblem places what turns out at start: the key's line, its section's, or none.
func TestProblem(t *testing.T) {
	c, err := parse("r.yaml", []byte("log: {level: info}\ncapture:\n  ring: 8MiB\n  services: [redis]\n"), noTcpdump)
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		c         *Config
		key, want string
	}{
		{c, "capture.ring", "r.yaml:3: capture.ring: too small"},
		{c, "capture.services[0]", "r.yaml:4: capture.services[0]: too small"},
		{c, "capture.interfaces", "r.yaml:2: capture.interfaces: too small"},
		{c, "rotate.dir", "r.yaml: rotate.dir: too small"},
		{defaults, "capture.ring", "built-in defaults: capture.ring: too small"},
	} {
		if got := p.c.Problem(p.key, "too small").Error(); got != p.want {
			t.Errorf("got %q, want %q", got, p.want)
		}
	}
}

// settingsOf is c without the places of its keys.
func settingsOf(c *Config) Config {
	s := *c
	s.file, s.lines = "", nil
	return s
}

func preset(t *testing.T, name string) filter.Service {
	t.Helper()
	s, ok := filter.Preset(name)
	if !ok {
		t.Fatalf("no preset %s", name)
	}
	return s
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
