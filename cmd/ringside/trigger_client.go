package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// defaultServer is the daemon on this node, unless its configuration says otherwise.
const defaultServer = "unix:///run/ringside/ringside.sock"

const (
	dialWithin = 5 * time.Second
	askWithin  = 30 * time.Second // for a whole answer
	maxAnswer  = 64 << 20         // bytes
	maxToken   = 4 << 10          // bytes
)

// client asks a daemon.
type client struct {
	server string // as the user wrote it
	base   string
	token  string
	http   http.Client
}

// newClient returns a client for unix:///PATH, http://ADDRESS or https://ADDRESS. tokenFile is "" for none.
func newClient(server, tokenFile string) (*client, error) {
	c := &client{server: server}
	var d net.Dialer
	dial := d.DialContext
	u, err := url.Parse(server)
	switch {
	case err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("--server: write unix:///PATH, http://ADDRESS:PORT or https://ADDRESS:PORT, and nothing else") // it may hold a password
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		c.base = "http://ringside"
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", u.Path) }
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && strings.Trim(u.Path, "/") == "":
		c.base = u.Scheme + "://" + u.Host
	default:
		return nil, fmt.Errorf("--server %q: write unix:///PATH, http://ADDRESS:PORT or https://ADDRESS:PORT", server)
	}
	if c.token, err = readToken(tokenFile); err != nil {
		return nil, err
	}
	c.http = http.Client{
		Timeout: askWithin,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, dialWithin)
				defer cancel()
				return dial(ctx, network, address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this server
	}
	return c, nil
}

func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(text) > maxToken || strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("--token-file %s holds no token: it must have one token on one line, and nothing else", path)
	}
	return token, nil
}

// get decodes the answer to a GET into into.
func (c *client) get(ctx context.Context, path string, into any) error {
	return c.ask(ctx, http.MethodGet, path, nil, into)
}

// post sends JSON and decodes the answer into into.
func (c *client) post(ctx context.Context, path string, body []byte, into any) error {
	return c.ask(ctx, http.MethodPost, path, body, into)
}

func (c *client) ask(ctx context.Context, method, path string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("the answer of %s broke off: %w", c.server, err)
	}
	if res.StatusCode/100 != 2 {
		return c.refusal(res, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s does not answer as a recorder does: %w: check --server", c.server, err)
	}
	return nil
}

// unreachable says what to do about an error of the connection.
func (c *client) unreachable(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL, which for a socket is made up
	}
	cure := "check --server"
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		cure = "start it with ringside run, or name another with --server"
	case errors.Is(err, fs.ErrPermission):
		cure = "run this as root or as a member of the socket's group"
	}
	return fmt.Errorf("no recorder answers at %s: %w: %s", c.server, err, cure)
}

// problem is an error that the daemon has answered with (RFC 9457).
type problem struct {
	Status int    `json:"status"`
	Detail string `json:"detail"`
	retry  string // seconds
}

func (p *problem) Error() string {
	text := printable(p.Detail)
	if p.retry != "" {
		text += fmt.Sprintf(" (again in %s s)", printable(p.retry))
	}
	return text
}

func (c *client) refusal(res *http.Response, answer []byte) error {
	p := &problem{retry: res.Header.Get("Retry-After")}
	if err := json.Unmarshal(answer, p); err != nil || p.Detail == "" {
		p.Detail = fmt.Sprintf("%s answers %d, not as a recorder does: check --server", c.server, res.StatusCode)
	}
	p.Status = res.StatusCode
	return p
}
