package upload

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"golang.org/x/sys/unix"
)

const (
	attempts       = 3 // of each request
	defaultTimeout = 30 * time.Second
	anyRegion      = "us-east-1" // what servers with an endpoint of their own mostly are content with
)

// newClient makes the SDK's client. It asks the network for nothing yet, not even for credentials.
func newClient(ctx context.Context, cfg Config, dial Dial) (*s3.Client, error) {
	if err := checkEndpoint(cfg.S3.Endpoint); err != nil {
		return nil, err
	}
	client, err := httpClient(cfg.S3, dial)
	if err != nil {
		return nil, err
	}
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(client),
		config.WithLogger(logging.Nop{}),
		config.WithRetryMode(aws.RetryModeStandard),
		config.WithRetryMaxAttempts(attempts),
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired), // each call says which
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired), // readers have the manifest's
		// The other modes replace the dialer; automatic even asks the network.
		config.WithDefaultsMode(aws.DefaultsModeLegacy),
	}
	if cfg.S3.Region != "" {
		options = append(options, config.WithRegion(cfg.S3.Region))
	}
	if cfg.S3.AccessKeyID != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(
			cfg.S3.AccessKeyID, string(cfg.S3.SecretAccessKey), string(cfg.S3.SessionToken))))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("read the AWS settings of the environment: %w", err)
	}
	switch {
	case loaded.Region != "":
	case cfg.S3.Endpoint != "":
		loaded.Region = anyRegion
	default:
		return nil, errors.New("the bucket's region is not known: set upload.s3.region, or AWS_REGION in the environment")
	}
	if cfg.S3.RoleARN != "" {
		identity := sts.NewFromConfig(loaded)
		role := stscreds.NewAssumeRoleProvider(identity, cfg.S3.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "ringside"
			if cfg.S3.ExternalID != "" {
				o.ExternalID = &cfg.S3.ExternalID
			}
		})
		loaded.Credentials = aws.NewCredentialsCache(role)
	}
	return s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.UsePathStyle = cfg.S3.PathStyle
		if cfg.S3.Endpoint != "" {
			o.BaseEndpoint = &cfg.S3.Endpoint
		}
	}), nil
}

// checkEndpoint does not quote what it refuses: it may hold a password.
func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return errors.New("upload.s3.endpoint is not of the form https://HOST:PORT, without a user or a query")
	}
	return nil
}

// httpClient is the SDK's, so that it still can add AWS_CA_BUNDLE to what it trusts.
func httpClient(cfg S3, dial Dial) (*awshttp.BuildableClient, error) {
	timeout := cfg.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: timeout}).DialContext
	}
	var roots *x509.CertPool
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("upload.s3.ca_file: %w", err)
		}
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("upload.s3.ca_file %s has no certificate in PEM", cfg.CAFile)
		}
	}
	return awshttp.NewBuildableClient().WithReadTimeout(0).WithTransportOptions(func(t *http.Transport) {
		t.DialContext = watched(dial, timeout)
		t.TLSHandshakeTimeout = timeout
		t.IdleConnTimeout = timeout / 2 // before the connection's own deadline
		t.MaxIdleConnsPerHost = max(cfg.Concurrency, defaultConcurrency) + 1
		t.ForceAttemptHTTP2 = false // S3 has none, and a deadline is to be that of one request
		if roots != nil {
			t.TLSClientConfig.RootCAs = roots
		}
	}), nil
}

// watched dials connections that fail when they make no progress for the timeout.
func watched(dial Dial, timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		boundUnsent(conn)
		return &watchedConn{conn, timeout}, conn.SetDeadline(time.Now().Add(timeout))
	}
}

// boundUnsent keeps the kernel from taking much more than it can send: what it takes counts as progress.
func boundUnsent(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 128<<10)
	})
}

// watchedConn puts its deadline off whenever bytes pass, in either direction.
type watchedConn struct {
	net.Conn
	timeout time.Duration
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		_ = c.Conn.SetDeadline(time.Now().Add(c.timeout))
	}
	return n, err
}

// Write writes in small pieces, as each has to be done within the timeout.
func (c *watchedConn) Write(b []byte) (written int, err error) {
	for {
		_ = c.Conn.SetDeadline(time.Now().Add(c.timeout))
		n, err := c.Conn.Write(b[:min(len(b), 64<<10)])
		written += n
		b = b[n:]
		if err != nil || len(b) == 0 {
			return written, err
		}
	}
}
