package proofs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// The commands work on an S3 store alone: more incidents than a page of keys has (long form), a capture of several parts, and with
// nothing but what the environment and flags say.
func TestRetrievalFromS3(t *testing.T) {
	s := s3server.Start(t)
	store, err := upload.OpenStore(t.Context(), s.Config("evidence"), nil)
	if err != nil {
		t.Fatal(err)
	}
	count := pick(60, 1050)
	begun := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	capture := bytes.Repeat([]byte("0123456789abcdef"), 12<<16) // 12 MiB: several parts
	hash := sha256.Sum256(capture)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range count {
		p := upload.Place{Cluster: "c", Incident: trigger.NewID(begun.Add(time.Duration(i) * time.Second)), Node: "n1"}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := putManifest(t, store, p, nil); err != nil {
				t.Error(err)
			}
		})
	}
	last := upload.Place{Cluster: "c", Incident: trigger.NewID(begun.Add(time.Hour)), Node: "n2"}
	object := upload.ObjectFacts{Name: "capture-A.pcapng", Kind: upload.KindCapture, Compression: upload.CompressionNone,
		Bytes: int64(len(capture)), PlainBytes: int64(len(capture)), SHA256: hex.EncodeToString(hash[:]), PlainSHA256: hex.EncodeToString(hash[:])}
	if err := store.Put(t.Context(), last.Prefix()+object.Name, bytes.NewReader(capture), upload.PutOptions{Size: object.Bytes}); err != nil {
		t.Fatal(err)
	}
	if err := putManifest(t, store, last, []upload.ObjectFacts{object}); err != nil {
		t.Fatal(err)
	}
	wg.Wait()

	secret := s.SecretKey
	run := func(args ...string) (code int, out []byte, errOut string) {
		t.Helper()
		args = append([]string{"incidents", "--store", "s3://" + s.Bucket + "/evidence", "--endpoint", s.URL, "--region", s.Region,
			"--path-style", "--ca-file", s.CAFile}, args...)
		cmd := exec.Command(ringside.Binary(t, ""), args...)
		cmd.Dir = t.TempDir()
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + secret}
		var o, e bytes.Buffer
		cmd.Stdout, cmd.Stderr = &o, &e
		cmd.Run()
		return cmd.ProcessState.ExitCode(), o.Bytes(), e.String()
	}
	code, out, errOut := run("ls", "--json", "--server", "none", "--limit", "5000")
	var rows []struct{ Incident, State string }
	if err := json.Unmarshal(out, &rows); err != nil || code != 0 || len(rows) != count+1 || rows[0].Incident != last.Incident {
		t.Fatalf("ls: exit code %d, %v, %d rows: %s", code, err, len(rows), errOut)
	}
	for i, r := range rows {
		if r.State != "stored" || i > 0 && r.Incident >= rows[i-1].Incident {
			t.Fatalf("row %d is %v", i, r)
		}
	}
	if code, out, errOut = run("get", last.Incident, "-o", "-"); code != 0 || !bytes.Equal(out, capture) {
		t.Errorf("get: exit code %d, %d bytes: %s", code, len(out), errOut)
	}
	if code, out, errOut = run("verify", last.Incident); code != 0 {
		t.Errorf("verify: exit code %d: %s%s", code, out, errOut)
	}
	if err := store.Put(t.Context(), last.Prefix()+object.Name, bytes.NewReader(capture[1:]), upload.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	orphan := last.Prefix() + "capture-B.pcapng"
	if err := store.Put(t.Context(), orphan, strings.NewReader("x"), upload.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut = run("get", last.Incident, "-o", "-"); code != 1 || len(out) > 0 || !strings.Contains(errOut, object.Name+" has ") {
		t.Errorf("get of a damaged one: exit code %d, %d bytes: %s", code, len(out), errOut)
	}
	if code, out, errOut = run("sweep", "--older", "0s"); code != 0 || strings.Count(string(out), "\n") != 2 || !strings.HasPrefix(string(out), orphan) {
		t.Errorf("sweep: exit code %d: %s%s", code, out, errOut)
	}
	if code, out, errOut = run("rm", last.Incident, "--yes"); code != 0 {
		t.Errorf("rm: exit code %d: %s%s", code, out, errOut)
	}
	if code, _, errOut = run("show", last.Incident); code != 1 || !strings.Contains(errOut, "no bundle of") {
		t.Errorf("show of a removed one: exit code %d: %s", code, errOut)
	}
	secret = "wrong-secret-0123456789"
	if code, _, errOut = run("ls", "--server", "none"); code != 1 || strings.Contains(errOut, secret) || !strings.Contains(errOut, "denied") {
		t.Errorf("wrong secret: exit code %d: %s", code, errOut)
	}
}

func putManifest(t *testing.T, s upload.Store, p upload.Place, objects []upload.ObjectFacts) error {
	at, ok := trigger.IDTime(p.Incident)
	if !ok {
		return fmt.Errorf("no id: %s", p.Incident)
	}
	raw, err := json.Marshal(upload.Manifest{
		Version: upload.ManifestVersion, Incident: p.Incident, Cluster: p.Cluster, Node: p.Node, Created: at,
		Triggers: []trigger.Trigger{{ID: p.Incident, Reason: "slow", At: at}}, Objects: objects,
		Window: upload.Window{Complete: true, Coverage: rotate.Coverage{Packets: 1}},
	})
	if err != nil {
		return err
	}
	return s.PutNew(t.Context(), p.Prefix()+upload.ManifestName, raw, upload.PutOptions{})
}
