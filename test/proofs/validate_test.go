package proofs

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/upload"
)

// TestValidateFromS3 certifies the time of a bundle from the store alone, and not a second more than it has.
func TestValidateFromS3(t *testing.T) {
	const packets = 5000
	server := s3server.Start(t)
	s := newSite(t, "v0")
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]",
		More: "trigger: {" + generous + "}\n" + storeYAML(server, s.reach(t, server.URL), "certified"),
	})
	if err := (&brake{Recorder: r}).send(t, s.inbound(t, "v0", loadgen.Plan{ID: 1, Port: wholePort, Sizes: []int{200}}), packets, 2500); err != nil {
		t.Fatal(err)
	}
	settled(t, r, packets)
	promised := &promised{}
	if status, err := promised.fire(r, "certified", "1m", "0s"); err != nil || status != http.StatusAccepted {
		t.Fatal(status, err)
	}
	delivered(t, r, patience)
	mustDo(t, r.Stop())
	store, err := upload.OpenStore(t.Context(), server.Config("certified"), nil)
	mustDo(t, err)
	m := kept(t, store, promised)[promised.ids[0]].Manifest
	if m == nil || m.Window.Coverage.Packets != packets {
		t.Fatalf("manifest %+v, want %d packets", m, packets)
	}
	from, to := m.Window.Asked.From, m.Window.Asked.To
	for _, missing := range m.Window.Coverage.Missing { // before the recorder's start
		from = later(from, missing.To)
	}
	validate := func(from time.Time, service string) (code int, c evidence.Certificate) {
		t.Helper()
		cmd := exec.Command(ringside.Binary(t, ""), "validate", "--json", "--store", "s3://"+server.Bucket+"/certified", "--endpoint", server.URL,
			"--region", server.Region, "--path-style", "--ca-file", server.CAFile, "--service", service,
			"--from", from.Format(time.RFC3339Nano), "--to", to.Format(time.RFC3339Nano))
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=" + server.AccessKey, "AWS_SECRET_ACCESS_KEY=" + server.SecretKey}
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		cmd.Run()
		if err := json.Unmarshal(out.Bytes(), &c); err != nil {
			t.Fatalf("exit code %d, %v: %s", cmd.ProcessState.ExitCode(), err, &errOut)
		}
		return cmd.ProcessState.ExitCode(), c
	}
	for _, c := range []struct {
		name    string
		from    time.Time
		service string
		code    int
		result  evidence.Result
		packets uint64 // of the service
	}{
		{"what the bundle has", from, "redis", 0, evidence.Clean, packets},
		{"a service of which there was no packet", from, "postgres", 3, evidence.NotCovered, 0},
		{"a second before the recorder began", from.Add(-time.Second), "redis", 3, evidence.NotCovered, packets},
	} {
		code, got := validate(c.from, c.service)
		seen := uint64(0)
		for _, s := range got.Services {
			if s.Name == c.service {
				seen = s.Packets
			}
		}
		if code != c.code || got.Result != c.result || seen != c.packets {
			t.Errorf("%s: exit code %d, %s for %q, %d packets; want %d, %s, %d\n%+v", c.name, code, got.Result, got.Reasons, seen, c.code, c.result, c.packets, got)
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
