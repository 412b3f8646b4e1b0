package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// recordCapture puts the packets of a capture into a spool, as one ring has them that has seen all interfaces, and returns
// what the ring covers. They end a second ago.
func recordCapture(t *testing.T, spool *rotate.Spool, capture []byte) (from, to time.Time) {
	t.Helper()
	var packets []pcapng.Packet
	table := new(pcapng.Table)
	for w := pcapng.NewWalker(bytes.NewReader(capture)); ; {
		b, err := w.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch b.Type {
		case pcapng.TypeInterface:
			i, err := b.Interface()
			if err != nil {
				t.Fatal(err)
			}
			table.Add(i)
		case pcapng.TypePacket:
			p, err := b.Packet()
			if err != nil {
				t.Fatal(err)
			}
			p.Data = bytes.Clone(p.Data)
			packets = append(packets, p)
		}
	}
	first, last := packets[0].NS, packets[0].NS
	for _, p := range packets {
		first, last = min(first, p.NS), max(last, p.NS)
	}
	shift := time.Now().Add(-time.Second).UnixNano() - last
	covered := first + shift
	for len(packets) > 0 {
		c, err := spool.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.Reset(table, "shared", covered)
		n := min(len(packets), 1000)
		for _, p := range packets[:n] {
			c.Packet(p.ID, p.NS+shift, p.Original, pcapng.Inbound, nil, p.Data)
		}
		if packets = packets[n:]; len(packets) == 0 {
			covered = last + shift + 1
		}
		c.Summary.To = covered
		spool.Put(c)
	}
	return time.Unix(0, first+shift), time.Unix(0, last+shift+1)
}

// spoolOf is a spool that was closed, with the packets of a capture.
func spoolOf(t *testing.T, capture []byte) (dir string, from, to time.Time) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "spool")
	spool, err := rotate.Open(rotate.Config{Dir: dir, Keep: rotate.Keep{Bytes: 64 << 20, Free: 1e-9}}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- spool.Run(ctx) }()
	from, to = recordCapture(t, spool, capture)
	for end := time.Now().Add(30 * time.Second); spool.Stats().Newest.Before(to); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the spool does not write")
		}
	}
	cancel()
	<-done
	if err := spool.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, from, to
}

// validate runs the command and returns its certificate.
func validate(t *testing.T, args ...string) (code int, c evidence.Certificate, errOut string) {
	t.Helper()
	code, out, errOut := runCommand(append([]string{"validate", "--json"}, args...)...)
	if code == exitUsage {
		return code, c, errOut
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatalf("exit code %d, %v: %s%s", code, err, out, errOut)
	}
	return code, c, errOut
}

// TestValidateSpool has a night that was clean, one that was not, and what keeps it from being said.
func TestValidateSpool(t *testing.T) {
	baseline := sharedCapture(t, "d15-baseline")
	clean, from, to := spoolOf(t, baseline)
	fault, from2, to2 := spoolOf(t, sharedCapture(t, "a02-flush-masqrf-loose1"))
	at := func(x time.Time) string { return x.UTC().Format(time.RFC3339Nano) }
	both := []string{"--service", "postgres", "--service", "redis"}
	tests := []struct {
		name   string
		args   []string
		code   int
		result evidence.Result
		reason string
	}{
		{"clean", append(both, "--spool", clean, "--from", at(from), "--to", at(to)), 0, evidence.Clean, ""},
		{"fired", append(both, "--spool", fault, "--from", at(from2), "--to", at(to2)), exitFailed, evidence.Fired, "conntrack-loss fired"},
		{"before it began", append(both, "--spool", clean, "--from", at(from.Add(-time.Minute)), "--to", at(to)), exitUnknown, evidence.NotCovered, "before-oldest"},
		{"another night", append(both, "--spool", clean, "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-01T01:00:00Z"), exitUnknown, evidence.NotCovered, "no packet of postgres"},
		{"a service without a packet", []string{"--service", "mysql", "--spool", clean, "--from", at(from), "--to", at(to)}, exitUnknown, evidence.NotCovered, "no packet of mysql"},
		{"all services", []string{"--spool", clean, "--from", at(from), "--to", at(to)}, exitUnknown, evidence.NotCovered, "no packet of "},
		{"fired before it began", append(both, "--spool", fault, "--from", at(from2.Add(-time.Minute)), "--to", at(to2)), exitFailed, evidence.Fired, "before-oldest"},
		{"of another class", append(both, "--class", "server-restart", "--spool", fault, "--from", at(from2), "--to", at(to2)), 0, evidence.Clean, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			page := filepath.Join(t.TempDir(), "page.html")
			code, c, errOut := validate(t, append([]string{"--html", page}, test.args...)...)
			if reasons := strings.Join(c.Reasons, "\n"); code != test.code || c.Result != test.result || !strings.Contains(reasons, test.reason) || (reasons == "") != (test.result == evidence.Clean) {
				t.Errorf("exit code %d, %s: %s; want %d, %s: %s\n%s", code, c.Result, reasons, test.code, test.result, test.reason, errOut)
			}
			text, err := c.Text()
			sum := sha256.Sum256(text)
			if b, readErr := os.ReadFile(page); err != nil || readErr != nil || !bytes.Contains(b, []byte(hex.EncodeToString(sum[:]))) {
				t.Errorf("the page does not name the certificate: %v, %v", err, readErr)
			}
		})
	}
	_, c, _ := validate(t, append(both, "--spool", clean, "--from", at(from), "--to", at(to))...)
	var seen uint64
	for _, s := range c.Services {
		seen += s.Packets
	}
	if r := c.Recordings; len(r) != 1 || seen == 0 || seen > r[0].Packets || len(r[0].Files) != 1 || len(r[0].Files[0].SHA256) != 64 {
		t.Errorf("%d packets of services: %+v", seen, r)
	}
	code, out, _ := runCommand("validate", "--spool", fault, "--from", at(from2), "--to", at(to2))
	for _, want := range []string{"Not clean", "conntrack-loss (", "postgres  ", "mysql  NO PACKET"} {
		if code != exitFailed || !strings.Contains(out, want) {
			t.Errorf("exit code %d, the text lacks %q:\n%s", code, want, out)
		}
	}
}

// TestValidateLive validates up to now while a recorder writes: its last second need not be on the disk yet.
func TestValidateLive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	spool, err := rotate.Open(rotate.Config{Dir: dir, Keep: rotate.Keep{Bytes: 64 << 20, Free: 1e-9}}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- spool.Run(ctx) }()
	from, to := recordCapture(t, spool, sharedCapture(t, "d15-baseline"))
	code, c, errOut := validate(t, "--spool", dir, "--from", from.Format(time.RFC3339Nano), "--to", to.Format(time.RFC3339Nano), "--service", "redis")
	if code != 0 || c.Result != evidence.Clean {
		t.Errorf("exit code %d: %s %v %s", code, c.Result, c.Reasons, errOut)
	}
	cancel()
	<-done
	if err := spool.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestValidateStore has the windows of two bundles for coverage, and looks at their packets anew.
func TestValidateStore(t *testing.T) {
	s := newTestStore(t)
	begun, _ := trigger.IDTime(idAt(0))
	from, mid, to := begun.Add(-2*time.Minute), begun.Add(time.Minute), begun.Add(4*time.Minute)
	shifted := func(name string, at time.Time) []byte {
		b := sharedCapture(t, name)
		var shift int64
		for w, offset := pcapng.NewWalker(bytes.NewReader(b)), 0; ; {
			blk, err := w.Next()
			if err == io.EOF {
				return b
			}
			if err != nil {
				t.Fatal(err)
			}
			if blk.Type == pcapng.TypePacket {
				p, _ := blk.Packet()
				if shift == 0 {
					shift = at.UnixNano() - p.NS
				}
				ns := uint64(p.NS + shift)
				body := b[int(blk.Offset)+8:]
				putUint32(body[4:], uint32(ns>>32))
				putUint32(body[8:], uint32(ns))
			}
			offset++
		}
	}
	whole := func(from, to time.Time) func(*upload.Manifest) {
		return func(m *upload.Manifest) {
			span := rotate.Span{From: from, To: to}
			m.Window.Asked, m.Window.Coverage.From, m.Window.Coverage.To = span, from, to
			m.Window.Coverage.Rings[0].Covered = []rotate.Span{span}
		}
	}
	s.add(t, placeAt(0, "n1"), shifted("d15-baseline", from.Add(10*time.Second)), whole(from, mid))
	s.add(t, placeAt(3*time.Minute, "n1"), shifted("d15-baseline", mid.Add(10*time.Second)), whole(mid, to))
	s.add(t, placeAt(3*time.Minute, "n2"), shifted("a02-flush-masqrf-loose1", mid.Add(10*time.Second)), whole(mid, to))
	s.add(t, placeAt(48*time.Hour, "n3"), captureOf(1))
	at := func(x time.Time) string { return x.UTC().Format(time.RFC3339Nano) }
	args := []string{"--store", s.dir, "--service", "redis", "--from", at(from), "--to", at(to)}
	tests := []struct {
		name       string
		args       []string
		code       int
		recordings int
		reason     string
	}{
		{"clean", []string{"--node", "n1"}, 0, 2, ""},
		{"half of it", []string{"--node", "n1", "--to", at(mid)}, 0, 1, ""},
		{"fired, and began late", nil, exitFailed, 3, "n2: " + at(from) + " to " + at(mid) + ": no-recording"},
		{"a node that stored nothing", []string{"--node", "n4", "--cluster", "prod"}, exitUnknown, 0, "n4: "},
		{"beyond the end", []string{"--node", "n1", "--to", at(to.Add(time.Second))}, exitUnknown, 2, "n1: " + at(to)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, c, errOut := validate(t, append(append([]string{}, args...), test.args...)...)
			if code != test.code || len(c.Recordings) != test.recordings || !strings.Contains(strings.Join(c.Reasons, "\n"), test.reason) || (len(c.Reasons) == 0) != (code == 0) {
				t.Errorf("exit code %d, %d recordings, %q; want %d, %d, %q: %s", code, len(c.Recordings), c.Reasons, test.code, test.recordings, test.reason, errOut)
			}
		})
	}
	_, c, _ := validate(t, args...)
	if len(c.Findings) == 0 || c.Findings[0].Class != detect.ConntrackLoss || c.Findings[0].Incident != idAt(3*time.Minute) || c.Findings[0].Node.Name != "n2" {
		t.Errorf("%+v", c.Findings)
	}
	bad := placeAt(0, "n1").Prefix() + "capture-AAAA.pcapng"
	s.put(t, bad, captureOf(99))
	if code, out, errOut := runCommand(append([]string{"validate"}, args...)...); code != exitFailed || out != "" || !strings.Contains(errOut, bad+" has ") {
		t.Errorf("a damaged bundle: exit code %d, %s%s", code, out, errOut)
	}
}

func putUint32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}

func TestValidateUsage(t *testing.T) {
	ok := []string{"--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T01:00:00Z"}
	for want, args := range map[string][]string{
		"give --from and --to":     {"--from", "-1h"},
		"--from yesterday":         {"--from", "yesterday", "--to", "now"},
		"is not before":            {"--from", "now", "--to", "-1h"},
		"has not come yet":         {"--from", "now", "--to", "2099-01-01T00:00:00Z"},
		"two recordings":           append(ok, "--store", "x", "--spool", "y"),
		"add --store":              append(ok, "--node", "n"),
		"there is no such class":   append(ok, "--class", "none"),
		"the configuration record": append(ok, "--service", "nobody"),
	} {
		if code, _, errOut := runCommand(append([]string{"validate"}, args...)...); code != exitUsage || !strings.Contains(errOut, strings.TrimPrefix(want, "--from yesterday")) {
			t.Errorf("%q: exit code %d, %s", args, code, errOut)
		}
	}
	if code, _, errOut := runCommand(append([]string{"validate", "--spool", filepath.Join(t.TempDir(), "none")}, ok...)...); code != exitFailed || !strings.Contains(errOut, "--store") {
		t.Errorf("no spool: exit code %d, %s", code, errOut)
	}
}
