package faultproxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Kind is a way to fail.
type Kind int

// Kinds of faults. The zero Kind is none.
const (
	None       Kind = iota
	Refuse          // connections: nobody listens, and what is open is cut
	BlackHole       // connections: accepted, even read, and never answered; cut when the fault ends
	Slow            // connections: Rate bytes a second, each way
	Deny            // requests: 403 AccessDenied
	Internal        // requests: 500 InternalError
	SlowDown        // requests: 503 SlowDown
	Region          // requests: 301 PermanentRedirect, the bucket being in eu-central-1
	Skew            // requests: 403 RequestTimeTooSkewed
	Reset           // requests: the connection is reset after Bytes of the request's body, or at its end
	Hold            // requests: taken, not passed on, and never answered; cut when the fault ends
	LoseAnswer      // requests: passed on, and the server's answer never told; cut when the fault ends
)

// Fault is what goes wrong.
type Fault struct {
	Kind  Kind
	Match func(*http.Request) bool // kinds of requests: only these; nil for all
	Times int                      // kinds of requests: only so often; 0 for until the next Set
	Rate  int                      // of Slow, bytes a second of each connection
	Bytes int64                    // of Reset
}

// IsPart matches the sending of one part of an object.
func IsPart(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Has("partNumber")
}

// IsComplete matches the end of an upload in parts.
func IsComplete(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

// IsManifest matches the sending of a manifest.
func IsManifest(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifest.json")
}

// answers are what S3 says in these cases.
var answers = map[Kind]struct {
	status        int
	code, message string
}{
	Deny:     {http.StatusForbidden, "AccessDenied", "Access Denied"},
	Internal: {http.StatusInternalServerError, "InternalError", "We encountered an internal error. Please try again."},
	SlowDown: {http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate."},
	Region: {http.StatusMovedPermanently, "PermanentRedirect",
		"The bucket you are attempting to access must be addressed using the specified endpoint."},
	Skew: {http.StatusForbidden, "RequestTimeTooSkewed",
		"The difference between the request time and the current time is too large."},
}

// fail does to the request what the fault is. until is closed when the fault ends.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, f Fault, until <-chan struct{}) {
	if a, ok := answers[f.Kind]; ok {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		if f.Kind == Region {
			w.Header().Set("X-Amz-Bucket-Region", "eu-central-1")
		}
		w.WriteHeader(a.status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, "<?xml version=\"1.0\"?>\n<Error><Code>%s</Code><Message>%s</Message><RequestId>1</RequestId></Error>",
				a.code, a.message)
		}
		return
	}
	switch f.Kind {
	case Reset:
		_, _ = io.CopyN(io.Discard, r.Body, f.Bytes)
	case Hold:
		_, _ = io.Copy(io.Discard, r.Body) // the client's end is noticed only once its body is read
		wait(r, until)
	case LoseAnswer:
		p.forward.ServeHTTP(&deaf{header: make(http.Header)}, r)
		wait(r, until)
	}
	cut(w)
}

func wait(r *http.Request, until <-chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-until:
	}
}

// cut resets the connection.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	reset(conn)
}

// reset closes with RST, as TLS would have said good-bye before.
func reset(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	if w, ok := c.(*conn); ok {
		c = w.Conn
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// deaf takes an answer that nobody is told.
type deaf struct{ header http.Header }

func (d *deaf) Header() http.Header         { return d.header }
func (d *deaf) Write(b []byte) (int, error) { return len(b), nil }
func (d *deaf) WriteHeader(int)             {}
