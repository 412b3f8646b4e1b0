// S3server runs one versitygw on a folder, for tests and the demo; package test/s3server starts it. It prints one line,
// the URL, once it serves, and ends when its standard input does: a test that is killed leaves no server behind.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

const healthPath = "/ringside-test-health"

type options struct {
	dir, bucket, address, cert, key string
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "`folder` to keep buckets in")
	flag.StringVar(&o.bucket, "bucket", "evidence", "bucket to make")
	flag.StringVar(&o.address, "address", "", "`host:port` to listen on")
	flag.StringVar(&o.cert, "cert", "", "certificate, PEM `file`; without it plain HTTP")
	flag.StringVar(&o.key, "key", "", "its key, PEM `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := run(ctx, o); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "s3server:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done. Credentials come by the environment, as everybody can see arguments.
func run(ctx context.Context, o options) error {
	access, secret := os.Getenv("S3SERVER_ACCESS_KEY"), os.Getenv("S3SERVER_SECRET_KEY")
	if o.dir == "" || o.address == "" || access == "" || secret == "" {
		return errors.New("give -dir, -address, and S3SERVER_ACCESS_KEY and S3SERVER_SECRET_KEY in the environment")
	}
	storage, data, err := layout(o)
	if err != nil {
		return err
	}
	backend, err := posix.New(data, storage, posix.PosixOpts{}) // changes the working directory
	if err != nil {
		return fmt.Errorf("open %s: %w", data, err)
	}
	banner := os.Stdout
	os.Stdout = os.Stderr // the gateway's own talk
	failed := make(chan error, 1)
	go func() {
		failed <- embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
			RootUserAccess: access, RootUserSecret: secret, Ports: []string{o.address},
			CertFile: o.cert, KeyFile: o.key, HealthPath: healthPath, Quiet: true, KeepAlive: true,
			VirtualDomain: "s3.localhost", MaxConnections: 4096, MaxRequests: 2048, MultipartMaxParts: 10_000,
		})
	}()
	url := "http://" + o.address
	if o.cert != "" {
		url = "https://" + o.address
	}
	if err := serving(ctx, url, failed); err != nil {
		return err
	}
	fmt.Fprintln(banner, url)
	return <-failed
}

// layout makes the folders of paths that stay true when the working directory changes. Objects' properties are extended
// attributes, or files aside where the file system has none.
func layout(o options) (storage meta.MetadataStorer, data string, err error) {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return nil, "", err
	}
	data = filepath.Join(dir, "data")
	if err := os.MkdirAll(filepath.Join(data, o.bucket), 0o755); err != nil {
		return nil, "", err
	}
	if err := (meta.XattrMeta{}).Test(data); err == nil {
		return meta.XattrMeta{}, data, nil
	}
	aside := filepath.Join(dir, "properties")
	if err := os.MkdirAll(aside, 0o755); err != nil {
		return nil, "", err
	}
	storage, err = meta.NewSideCar(aside)
	return storage, data, err
}

// serving returns when the gateway answers, which it announces in no other way.
func serving(ctx context.Context, url string, failed <-chan error) error {
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // it is this process
		DisableKeepAlives: true,
	}}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		resp, err := client.Get(url + healthPath)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
}
