package s3server

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringside/ringside/upload"
)

// VirtualHost is the host below which the server also knows buckets by host name: https://BUCKET.s3.localhost:PORT. No
// resolver needs to know it: dial 127.0.0.1.
const VirtualHost = "s3.localhost"

const (
	certFile = "cert.pem"
	keyFile  = "key.pem"
)

// Server is a running versitygw. Its methods are not to be called concurrently; what is stored may be.
type Server struct {
	URL       string // https://127.0.0.1:PORT, the same after Restart
	Bucket    string
	Region    string
	AccessKey string
	SecretKey string
	CAFile    string          // PEM
	TLS       tls.Certificate // for a proxy that stands in for the server

	dir     string
	address string
	child   *child
}

// Start starts a server that lives as long as the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Open starts a server that keeps everything in dir: its certificate, and below data/ the bucket as plain files. Stop
// ends it; so does the end of this process.
func Open(dir string) (*Server, error) {
	cert, err := certificate(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Bucket: "evidence", Region: "us-east-1", AccessKey: "AKIA" + rand.Text()[:16], SecretKey: rand.Text(),
		CAFile: filepath.Join(dir, certFile), TLS: cert, dir: dir,
	}
	// Ports below those that the kernel gives to clients, so that none can take the server's while it restarts. That
	// another server has the port shows as a failed start.
	for try := 0; ; try++ {
		s.address = fmt.Sprintf("127.0.0.1:%d", 20000+mathrand.IntN(12000))
		err := s.Restart()
		if err == nil {
			return s, nil
		}
		if try == 20 || !strings.Contains(err.Error(), "address already in use") {
			return nil, err
		}
	}
}

// Config is the configuration of a store below prefix in the server's bucket, by path, with credentials.
func (s *Server) Config(prefix string) upload.Config {
	return upload.Config{
		To: "s3://" + s.Bucket + "/" + prefix,
		S3: upload.S3{
			Endpoint: s.URL, Region: s.Region, PathStyle: true, CAFile: s.CAFile,
			AccessKeyID: s.AccessKey, SecretAccessKey: upload.Secret(s.SecretKey),
		},
		Cluster: "test", Node: "node-1",
	}
}

// Restart starts the server where it was, stopping it before if it runs.
func (s *Server) Restart() error {
	s.Stop()
	child, url, err := s.start()
	if err != nil {
		return fmt.Errorf("start versitygw on %s: %w", s.address, err)
	}
	s.child, s.URL = child, url
	return nil
}

// Stop kills the server, as a crash would: nothing listens when it returns.
func (s *Server) Stop() {
	if s.child != nil {
		s.child.kill()
		s.child = nil
	}
}

// child is the process; stdin held open is its life line.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer
}

func (s *Server) start() (*child, string, error) {
	path, err := binary()
	if err != nil {
		return nil, "", err
	}
	c := &child{cmd: exec.Command(path, "-dir", s.dir, "-bucket", s.Bucket, "-address", s.address,
		"-cert", s.CAFile, "-key", filepath.Join(s.dir, keyFile))}
	c.cmd.Env = append(os.Environ(), "S3SERVER_ACCESS_KEY="+s.AccessKey, "S3SERVER_SECRET_KEY="+s.SecretKey)
	c.cmd.Stderr = &c.stderr
	c.stdin, err = c.cmd.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		err = errors.Join(err, c.cmd.Wait())
		return nil, "", fmt.Errorf("it ended: %w\n%s", err, c.stderr.String())
	}
	return c, strings.TrimSpace(line), nil
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // "signal: killed"
	_ = c.stdin.Close()
}
