package proofs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/upload"
)

const (
	moreMemory = 64 << 20 // bytes that storing a window may take
	mostCached = 1 << 20  // bytes of the spool in the page cache
)

// TestLargeWindow stores one large window while packets keep coming, and the SDK stores the same bytes from a ready
// file on the same way. That nothing is dropped, memory and page cache are held; how long it took is printed.
func TestLargeWindow(t *testing.T) {
	server := s3server.Start(t)
	for _, compression := range []string{"zstd", "none"} {
		t.Run(compression, func(t *testing.T) { largeWindow(t, server, compression) })
	}
}

func largeWindow(t *testing.T, server *s3server.Server, compression string) {
	const size, rate = 1400, 100e3
	packets := pick(50_000, 740_000)
	s := newSite(t, "v0")
	prefix := "large-" + compression
	store := storeYAML(server, s.reach(t, server.URL), prefix)
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]", Ring: "64MiB",
		More: "trigger: {" + generous + "}\n" + strings.Replace(store, "upload: {", "upload: {compression: "+compression+", ", 1),
	})
	large := s.inbound(t, "v0", loadgen.Plan{ID: 1, Port: wholePort, Sizes: []int{size}})
	if err := (&brake{Recorder: r}).send(t, large, packets, rate); err != nil {
		t.Fatal(err)
	}
	settled(t, r, packets)
	defer steady(t, s.inbound(t, "v0", loadgen.Plan{ID: 2, Port: headersPort, Sizes: mixedSizes}), 2000)()
	before, err := ringside.MemoryOf(r.Pid())
	if err != nil {
		t.Fatal(err)
	}
	promised := &promised{}
	if status, err := promised.fire(r, "large", "5m", "0s"); err != nil || status != http.StatusAccepted {
		t.Fatal(status, err)
	}
	delivered(t, r, 5*patience)
	after, err := ringside.MemoryOf(r.Pid())
	if err != nil {
		t.Fatal(err)
	}
	sealed, open, err := r.Segments()
	if err != nil {
		t.Fatal(err)
	}
	cached, err := ringside.Cached(append(sealed, open...))
	if err != nil {
		t.Fatal(err)
	}
	dropped := sum(t, metrics(t, r), droppedMetric)
	if more := after.Peak - before.Peak; more > moreMemory || cached >= mostCached || dropped > 0 {
		t.Errorf("memory grew by %d MiB, %d bytes are cached, %d packets dropped", more>>20, cached, dropped)
	}
	opened, err := upload.OpenStore(t.Context(), server.Config(prefix), nil)
	if err != nil {
		t.Fatal(err)
	}
	bundle := kept(t, opened, promised)[promised.ids[0]]
	if m := bundle.Manifest; m == nil || !m.Window.Complete && onlyBefore(m) != nil || m.Window.Coverage.Packets < uint64(packets) {
		t.Fatalf("bundle: %+v", bundle)
	}
	took := tookToStore(t, r)
	plain, file := plainCapture(t, opened, bundle)
	sdk := timeSDK(t, server, forward(t, server.URL), prefix, file)
	t.Logf("a window of %d MiB, stored as %d MiB of %s, in %.2f s (%.0f MiB/s); the SDK stored a ready file of it in %.2f s (%.0f MiB/s): %.2f times as fast; "+
		"memory %d MiB, while storing %d MiB at most; %d bytes cached", plain>>20, bundle.Manifest.Objects[0].Bytes>>20, compression,
		took.Seconds(), perSecond(plain, took), sdk.Seconds(), perSecond(plain, sdk), sdk.Seconds()/took.Seconds(),
		before.Peak>>20, after.Peak>>20, cached)
}

// onlyBefore returns an error if the window lacks anything but what lay before the recorder's start.
func onlyBefore(m *upload.Manifest) error {
	for _, missing := range m.Window.Coverage.Missing {
		if missing.Reason != "before-oldest" {
			return fmt.Errorf("missing: %+v", missing)
		}
	}
	return nil
}

func perSecond(bytes int64, d time.Duration) float64 { return float64(bytes>>20) / d.Seconds() }

// tookToStore is the time between the log's lines about a window that is complete and one that is stored.
func tookToStore(t *testing.T, r *ringside.Recorder) time.Duration {
	t.Helper()
	at := func(text string) time.Time {
		for line := range strings.Lines(r.Log()) {
			var l struct {
				Time time.Time
				Msg  string
			}
			if json.Unmarshal([]byte(line), &l) == nil && strings.Contains(l.Msg, text) {
				return l.Time
			}
		}
		t.Fatalf("the log does not say %q", text)
		return time.Time{}
	}
	return at("an incident is stored").Sub(at("an incident is complete"))
}

// plainCapture writes the bundle's capture, decompressed, into a file.
func plainCapture(t *testing.T, store upload.Store, b upload.Bundle) (size int64, path string) {
	t.Helper()
	files, err := upload.NewArchive(store).Download(t.Context(), b, t.TempDir(), upload.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return files[0].PlainBytes, files[0].Path
}

// timeSDK stores a file with the SDK's uploader as it is by default.
func timeSDK(t *testing.T, server *s3server.Server, endpoint, prefix, path string) time.Duration {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := os.ReadFile(server.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}
	defer transport.CloseIdleConnections()
	client := s3.New(s3.Options{
		HTTPClient: &http.Client{Transport: transport}, Region: server.Region, BaseEndpoint: aws.String(endpoint), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(server.AccessKey, server.SecretKey, ""),
	})
	began := time.Now()
	//lint:ignore SA1019 it is what the product uses
	_, err = manager.NewUploader(client).Upload(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(server.Bucket), Key: aws.String(prefix + "/sdk"), Body: f,
	})
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}
