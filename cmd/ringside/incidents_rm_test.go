package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/upload"
)

func TestIncidentsVerify(t *testing.T) {
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(10))
	raw, err := os.ReadFile(filepath.Join(s.dir, placeAt(0, "n1").Prefix(), upload.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(raw)
	follows := func(m *upload.Manifest) {
		m.Previous = &upload.Previous{Incident: idAt(0), SHA256: hex.EncodeToString(h[:])}
	}
	s.add(t, placeAt(time.Hour, "n1"), captureOf(20), follows)
	s.add(t, placeAt(time.Hour, "n2"), captureOf(30))
	check := func(name string, code int, has []string, args ...string) {
		t.Helper()
		got, out, errOut := s.run(append([]string{"verify"}, args...)...)
		if got != code {
			t.Errorf("%s: exit code %d, want %d: %s%s", name, got, code, out, errOut)
		}
		for _, text := range has {
			if !strings.Contains(out, text) {
				t.Errorf("%s: %q is not in\n%s", name, text, out)
			}
		}
		if lines := strings.Count(out, "\n"); lines != len(has) {
			t.Errorf("%s: %d lines, want %d:\n%s", name, lines, len(has), out)
		}
	}
	check("whole store", 0, []string{"bundles 3, objects 3, read 6.3 KiB, problems 0"})
	check("one", 0, []string{"bundles 2, objects 2"}, idAt(time.Hour))
	check("one node", 0, []string{"bundles 1, objects 1"}, idAt(time.Hour), "--node", "n2")
	s.put(t, "README", nil)
	s.put(t, "backup/x", nil)
	check("foreign", 0, []string{"note:  backup/ belongs to no bundle", "bundles 3"})
	bad := placeAt(time.Hour, "n2").Prefix() + "capture-AAAA.pcapng"
	s.put(t, bad, captureOf(29))
	s.put(t, placeAt(2*time.Hour, "n1").Prefix()+upload.ManifestName, []byte("{"))
	s.put(t, placeAt(0, "n1").Prefix()+upload.ManifestName, append(raw, '\n')) // a hash is a hash
	check("damaged", exitFailed, []string{
		"bad:   " + bad + " has 3100 bytes, its manifest says 3204", "no JSON of a manifest",
		"node=n1/manifest.json has SHA-256", "note:  backup/", "bundles 4, objects 3, read 6.3 KiB, problems 3",
	})
	code, out, _ := s.run("verify", "--json")
	var r verifyReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitFailed || len(r.Problems) != 3 || len(r.Notes) != 1 || r.Objects != 3 {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}
	if code, out, errOut := s.run("verify", idAt(-time.Hour)); code != exitFailed || out != "" || !strings.Contains(errOut, "no bundle of") {
		t.Errorf("unknown: exit code %d: %s%s", code, out, errOut)
	}
	check("the one before is another", exitFailed, []string{"has SHA-256", "bundles 1"}, idAt(time.Hour), "--node", "n1")
}

func TestIncidentsRm(t *testing.T) {
	s := newTestStore(t)
	for _, node := range []string{"n1", "n2"} {
		s.add(t, placeAt(0, node), captureOf(1))
	}
	s.add(t, placeAt(time.Hour, "n1"), captureOf(1))
	s.put(t, placeAt(2*time.Hour, "n1").Prefix()+"capture-A.pcapng", nil)
	if code, _, errOut := s.run("rm", idAt(2*time.Hour), "--yes"); code != exitFailed || !strings.Contains(errOut, "sweep") {
		t.Errorf("an unfinished one: exit code %d, %s", code, errOut)
	}
	if code, out, errOut := s.run("rm", idAt(0), "--yes", "--node", "n1"); code != 0 || out != "removed "+placeAt(0, "n1").Prefix()+"\n" {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	if code, out, errOut := s.run("rm", idAt(0), "--yes", "--json"); code != 0 || !strings.Contains(out, placeAt(0, "n2").Prefix()) {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	want := []string{
		placeAt(time.Hour, "n1").Prefix() + "capture-AAAA.pcapng", placeAt(time.Hour, "n1").Prefix() + upload.ManifestName,
		placeAt(2*time.Hour, "n1").Prefix() + "capture-A.pcapng",
	}
	if got := tree(t, s.dir); !slices.Equal(got, want) {
		t.Errorf("left: %q, want %q", got, want)
	}
	if code, _, errOut := s.run("rm", idAt(0), "--yes"); code != exitFailed || !strings.Contains(errOut, "no bundle of") {
		t.Errorf("again: exit code %d, %s", code, errOut)
	}
}

// On a terminal rm asks, and get shows how far it is.
func TestIncidentsTerminal(t *testing.T) {
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(1))
	run := func(answer string, args ...string) (code int, screen string) {
		t.Helper()
		master, slave := terminal(t)
		cmd := exec.Command(testBinary, append([]string{"incidents", "--store", s.dir}, args...)...)
		cmd.Stdin, cmd.Stderr = slave, slave
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		slave.Close()
		if _, err := master.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(master) // EIO at its end
		cmd.Wait()
		return cmd.ProcessState.ExitCode(), string(b)
	}
	dir := t.TempDir()
	if code, screen := run("", "get", idAt(0), "-o", dir); code != 0 || !strings.Contains(screen, "n1  capture-AAAA.pcapng  0.2 KiB of 0.2 KiB") {
		t.Errorf("get: exit code %d, %q", code, screen)
	}
	if code, screen := run("n\n", "rm", idAt(0)); code != exitFailed || !strings.Contains(screen, "of n1? [y/N]") || len(tree(t, s.dir)) != 2 {
		t.Errorf("no: exit code %d, %q", code, screen)
	}
	if code, screen := run("y\n", "rm", idAt(0)); code != 0 || len(tree(t, s.dir)) != 0 {
		t.Errorf("yes: exit code %d, %q", code, screen)
	}
}

// terminal returns both ends of a pseudo-terminal.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals: ", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

func TestIncidentsSweep(t *testing.T) {
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(1))
	orphan := placeAt(0, "n1").Prefix() + "capture-OLD.pcapng"
	s.put(t, orphan, make([]byte, 2048))
	s.put(t, "README", nil)
	if code, out, errOut := s.run("sweep"); code != 0 || out != "removed: 0, 0.0 KiB\n" || !strings.Contains(errOut, "README") {
		t.Errorf("young: exit code %d: %s%s", code, out, errOut)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--dry-run"}, "would remove: 1, 2.0 KiB\n"},
		{nil, "removed: 1, 2.0 KiB\n"},
	} {
		code, out, errOut := s.run(append([]string{"sweep", "--older", "0s"}, test.args...)...)
		if code != 0 || out != orphan+"  2.0 KiB  its manifest does not name it\n"+test.want {
			t.Errorf("%v: exit code %d: %s%s", test.args, code, out, errOut)
		}
	}
	if _, _, errOut := s.run("sweep", "--older", "11h"); !strings.Contains(errOut, "give 12h0m0s or more") {
		t.Errorf("a sweep of what may be on its way says %q", errOut)
	}
	if _, _, errOut := s.run("sweep", "--older", "12h"); strings.Contains(errOut, "--older") {
		t.Errorf("a safe sweep says %q", errOut)
	}
	code, out, _ := s.run("sweep", "--older", "0s", "--json")
	if code != 0 || strings.Join(strings.Fields(out), "") != `{"swept":[]}` {
		t.Errorf("exit code %d: %s", code, out)
	}
	s.put(t, placeAt(0, "n1").Prefix()+upload.ManifestName, []byte("{"))
	if code, out, _ = s.run("sweep", "--older", "0s"); code != exitFailed || !strings.Contains(out, "not removed: the manifest is no JSON") {
		t.Errorf("an unreadable manifest: exit code %d: %s", code, out)
	}
	if got := tree(t, s.dir); len(got) != 3 {
		t.Errorf("left: %q", got)
	}
}
