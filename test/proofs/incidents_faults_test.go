package proofs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/test/faultproxy"
	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/upload"
)

type storeFault struct {
	name  string
	fault faultproxy.Fault
}

// storeFaults is everything that goes wrong with the store, by name.
var storeFaults = []storeFault{
	{"refused", faultproxy.Fault{Kind: faultproxy.Refuse}},
	{"black hole", faultproxy.Fault{Kind: faultproxy.BlackHole}},
	{"slow", faultproxy.Fault{Kind: faultproxy.Slow, Rate: 2 << 20}},
	{"denied", faultproxy.Fault{Kind: faultproxy.Deny}},
	{"internal error", faultproxy.Fault{Kind: faultproxy.Internal}},
	{"slow down", faultproxy.Fault{Kind: faultproxy.SlowDown}},
	{"wrong region", faultproxy.Fault{Kind: faultproxy.Region}},
	{"clock skew", faultproxy.Fault{Kind: faultproxy.Skew}},
	{"reset in a part", faultproxy.Fault{Kind: faultproxy.Reset, Match: faultproxy.IsPart, Bytes: 1 << 20}},
	{"part without an answer", faultproxy.Fault{Kind: faultproxy.Hold, Match: faultproxy.IsPart}},
	{"completed, and the answer lost", faultproxy.Fault{Kind: faultproxy.LoseAnswer, Match: faultproxy.IsComplete}},
	{"manifest stored, and the answer lost", faultproxy.Fault{Kind: faultproxy.LoseAnswer, Match: faultproxy.IsManifest}},
}

// TestStoreFaults lets the store fail in every way while packets come, the recorder's start included. Recording goes
// on, and in the end every incident is in the store with exactly the packets that the spool had.
func TestStoreFaults(t *testing.T) {
	server := s3server.Start(t)
	proxy := faultproxy.Start(t, server)
	s := newSite(t, "v0")
	const prefix = "faults"
	o := ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]", Rotate: map[string]string{"every": "1s"},
		More: "trigger: {" + generous + "}\n" + strings.NewReplacer("upload: {", "upload: {compression: none, ", "s3: {", "s3: {timeout: 1s, ").
			Replace(storeYAML(server, s.reach(t, proxy.URL), prefix)),
	}
	defer steady(t, s.inbound(t, "v0", loadgen.Plan{ID: 1, Port: wholePort, Sizes: []int{1400}}), 5000)()
	proxy.Set(storeFaults[0].fault)
	r := ringside.Launch(t, o) // ready, although its store is away
	began := time.Now()
	promised := &promised{}
	packets := map[string]string{} // hash of the packets of a window, by incident
	for _, f := range pick([]storeFault{storeFaults[0], storeFaults[8], storeFaults[11]}, storeFaults) {
		proxy.Set(f.fault)
		atLeast(t, r, 5000)
		if status, err := promised.fire(r, f.name, "1s", "0s"); err != nil || status != http.StatusAccepted {
			t.Fatal(f.name, status, err)
		}
		id := promised.ids[len(promised.ids)-1]
		met(t, r, proxy, f.fault)
		if status, _, err := r.Get("/readyz"); err != nil || status != http.StatusOK {
			t.Errorf("%s: readyz says %d, %v", f.name, status, err)
		}
		packets[id] = spooled(t, r, id)
		proxy.Set(faultproxy.Fault{})
		delivered(t, r, patience)
	}
	if dropped := sum(t, metrics(t, r), droppedMetric); dropped > 0 {
		t.Errorf("%d packets were dropped", dropped)
	}
	lines, most := strings.Count(r.Log(), "could not be stored"), 1+len(storeFaults)+int(time.Since(began)/time.Minute)
	if lines > most { // each recovery allows another line
		t.Errorf("the log has %d lines of failures, want %d at most", lines, most)
	}
	if strings.Contains(r.Log(), server.SecretKey) {
		t.Error("the secret key is in the log")
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, r)
	store, err := upload.OpenStore(t.Context(), server.Config(prefix), nil)
	if err != nil {
		t.Fatal(err)
	}
	bundles := kept(t, store, promised)
	for id, want := range packets {
		if got := captured(t, store, bundles[id]); got != want {
			t.Errorf("%s (%s): the packets stored are not those of the spool", id, bundles[id].Manifest.Triggers[0].Reason)
		}
	}
	swept(t, store)
}

// met waits until the recorder has met the fault. What is refused by the kernel only the recorder knows.
func met(t *testing.T, r *ringside.Recorder, proxy *faultproxy.Proxy, f faultproxy.Fault) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := error(nil)
	if f.Kind == faultproxy.Refuse {
		err = r.Until(patience, "failing", func() bool {
			m, err := r.Metrics()
			return err == nil && m["ringside_upload_failing_total"] == 1
		})
	} else {
		err = proxy.Await(ctx, 1)
	}
	if err != nil {
		t.Errorf("nobody met the fault: %v", err)
	}
}

// atLeast waits until the recorder has written so many more packets.
func atLeast(t *testing.T, r *ringside.Recorder, packets int) {
	t.Helper()
	from := sum(t, metrics(t, r), writtenMetric)
	err := r.Until(patience, "recording", func() bool {
		m, err := r.Metrics()
		written, _ := m.Sum(writtenMetric)
		return err == nil && int(written) >= from+packets
	})
	if err != nil {
		t.Fatal(err)
	}
}

// spooled is the hash of an incident's packets as the spool has them.
func spooled(t *testing.T, r *ringside.Recorder, id string) string {
	t.Helper()
	i := incident(t, r, id)
	resp, err := r.Packets(i.From.Format(time.RFC3339Nano), i.To.Format(time.RFC3339Nano))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("packets of %s: %s", id, resp.Status)
	}
	return packetHash(t, resp.Body)
}

// captured is the hash of a bundle's packets.
func captured(t *testing.T, store upload.Store, b upload.Bundle) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := upload.NewArchive(store).Download(t.Context(), b, dir, upload.DownloadOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, b.Incident, b.Node, "capture.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return packetHash(t, f)
}

// packetHash is the hash of all packet blocks of a capture, and their number.
func packetHash(t *testing.T, r io.Reader) string {
	t.Helper()
	h, n := sha256.New(), 0
	for w := pcapng.NewWalker(r); ; n++ {
		b, err := w.Next()
		for ; err == nil && b.Type != pcapng.TypePacket; b, err = w.Next() {
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		h.Write(b.Raw)
	}
	if n == 0 {
		t.Error("there is no packet")
	}
	return fmt.Sprintf("%d packets, %s", n, hex.EncodeToString(h.Sum(nil)))
}

// TestFullOutbox fills the budget of what waits to be stored: further triggers are refused with 507, no pin is given up,
// and once the store is back all is stored and triggers are accepted again.
func TestFullOutbox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	if err := os.WriteFile(store, nil, 0o600); err != nil { // no directory can be made here
		t.Fatal(err)
	}
	s := newSite(t, "v0")
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]",
		Rotate: map[string]string{"every": "1s", "max_size": "2MiB", "keep": "{bytes: 16MiB, age: 1h, free: 1%}"},
		More:   "trigger: {" + strings.Replace(generous, "pinned: 4GiB", "pinned: 32MiB", 1) + "}\nupload: {to: \"file://" + store + "\"}\n",
	})
	defer steady(t, s.inbound(t, "v0", loadgen.Plan{ID: 1, Port: wholePort, Sizes: []int{1400}}), 5000)()
	promised := &promised{}
	status := 0
	for n := 0; status != http.StatusInsufficientStorage && n < 50; n++ {
		atLeast(t, r, 3000)
		var err error
		if status, err = promised.fire(r, fmt.Sprint("fill ", n), "1s", "0s"); err != nil || status != http.StatusAccepted && status != http.StatusInsufficientStorage {
			t.Fatal(status, err)
		}
	}
	if status != http.StatusInsufficientStorage || len(promised.ids) < 2 {
		t.Fatalf("%d incidents, and the last answer was %d", len(promised.ids), status)
	}
	atLeast(t, r, 50_000) // retention has removed what is not pinned, several times over
	refused := metrics(t, r)[`ringside_trigger_refused_total{kind="pinned",source="socket"}`]
	if pins := sum(t, metrics(t, r), "ringside_spool_pins_total"); pins < 2 || refused != 1 {
		t.Errorf("%d pins, %v refused", pins, refused)
	}
	if err := os.Remove(store); err != nil {
		t.Fatal(err)
	}
	delivered(t, r, 2*patience)
	atLeast(t, r, 3000)
	if status, err := promised.fire(r, "again", "1s", "0s"); err != nil || status != http.StatusAccepted {
		t.Errorf("after the store was back: %d, %v", status, err)
	}
	delivered(t, r, patience)
	opened, err := upload.OpenStore(t.Context(), upload.Config{To: "file://" + store}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for id, b := range kept(t, opened, promised) {
		if b.Manifest != nil && b.Manifest.Window.Coverage.Packets == 0 {
			t.Errorf("%s has no packets", id)
		}
	}
}
