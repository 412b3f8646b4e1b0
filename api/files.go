package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/upload"
)

const (
	linkFor   = 5 * time.Minute // that a link to S3 can be used
	pieceSize = 64 << 10        // bytes, read and sent at once
)

var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)

// file is one object of a bundle, as its manifest has it.
type file struct {
	bundle upload.Bundle
	name   string
	kind   string // media type
	size   int64
	sha256 string // hexadecimal
}

// getFile hands out a file of a bundle: by a link to where it is stored, or by reading it from there.
func (s *Server) getFile(w http.ResponseWriter, req *http.Request) {
	id, name := req.PathValue("id"), req.PathValue("name")
	if !checkID(w, id) {
		return
	}
	values, err := parameters(req.URL.RawQuery, "node", "cluster", "stream")
	stream := false
	if err == nil {
		stream, err = flagOf(values, "stream")
	}
	if err == nil && !fileName.MatchString(name) {
		err = fmt.Errorf("%.80q is no name of a file: GET /v1/incidents/%s lists them", name, id)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	if !s.enter(w, s.lookups, "requests that read the store") {
		return
	}
	store, bundles, state := s.find(req.Context(), id)
	<-s.lookups
	f, p := findFile(bundles, state, id, name, values["cluster"], values["node"])
	if p != nil {
		p.write(w)
		return
	}
	if stream || f.name == upload.ManifestName || !s.redirect(w, req, store, f) {
		s.sendFile(w, req, store, f)
	}
}

// findFile chooses the bundle of one node, and in it the file that its manifest names.
func findFile(bundles []upload.Bundle, state *StoreState, id, name, cluster, node string) (f file, p *problem) {
	if state.Error != "" {
		return f, newProblem(http.StatusBadGateway, "the store cannot be read: %s", state.Error)
	}
	var fit []upload.Bundle
	var places []string
	for _, b := range bundles {
		if (cluster == "" || b.Cluster == cluster) && (node == "" || b.Node == node) {
			fit = append(fit, b)
			places = append(places, fmt.Sprintf("cluster=%s&node=%s", b.Cluster, b.Node))
		}
	}
	switch {
	case len(fit) == 0:
		return f, newProblem(http.StatusNotFound, "no such bundle of %s is in the store: GET /v1/incidents/%s says what there is", id, id)
	case len(fit) > 1:
		return f, newProblem(http.StatusBadRequest, "several nodes stored this incident: add one of ?%s", strings.Join(places, ", ?"))
	case fit[0].Manifest == nil:
		return f, newProblem(http.StatusBadGateway, "the bundle has no good manifest, so nothing says what belongs to it: %v", fit[0].Problem)
	}
	b := fit[0]
	if name == upload.ManifestName {
		sum := sha256.Sum256(b.Raw)
		return file{b, name, "application/json", int64(len(b.Raw)), hex.EncodeToString(sum[:])}, nil
	}
	for _, o := range b.Manifest.Objects {
		if o.Name == name {
			return file{b, name, "application/octet-stream", o.Bytes, o.SHA256}, nil
		}
	}
	return f, newProblem(http.StatusNotFound, "the manifest names no %s: GET /v1/incidents/%s lists the files", name, id)
}

func (f file) audited(what string) []zap.Field {
	return []zap.Field{zap.String("what", what), zap.String("incident", f.bundle.Incident), zap.String("node", f.bundle.Node), zap.String("file", f.name)}
}

// redirect sends the client to where the file is stored, and says whether it has answered: a directory has no links.
func (s *Server) redirect(w http.ResponseWriter, req *http.Request, store upload.Store, f file) bool {
	link, err := store.Link(req.Context(), f.bundle.Prefix()+f.name, linkFor)
	switch {
	case errors.Is(err, upload.ErrUnsupported):
		return false
	case err != nil:
		fail(w, http.StatusBadGateway, "the store gives no link: %v", err)
		return true
	}
	w.Header().Set("Location", link)
	w.WriteHeader(http.StatusTemporaryRedirect)
	s.handedOut(req, 0, nil, nil, f.audited("redirect")...)
	return true
}

// sendFile reads the file from the store and sends it, or a piece of it.
func (s *Server) sendFile(w http.ResponseWriter, req *http.Request, store upload.Store, f file) {
	h := w.Header()
	etag := `"` + f.sha256 + `"`
	h.Set("ETag", etag)
	h.Set("Accept-Ranges", "bytes")
	if req.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	asked, ok := pieceOf(req, etag, f.size)
	if !ok {
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", f.size))
		fail(w, http.StatusRequestedRangeNotSatisfiable, "the file has %d bytes: ask for some of them, counted from 0", f.size)
		return
	}
	if !s.enter(w, s.streams, "packet streams") {
		return
	}
	defer func() { <-s.streams }()
	ctx, cancel := context.WithTimeout(req.Context(), maxStream)
	defer cancel()
	body, err := f.open(ctx, store, asked.offset)
	if err != nil {
		h.Del("ETag")
		fail(w, http.StatusBadGateway, "the file cannot be read from the store: %v", err)
		return
	}
	defer body.Close()
	f.describe(h, asked)
	w.WriteHeader(asked.status)
	if req.Method == http.MethodHead {
		return
	}
	out := newPatientWriter(ctx, w)
	n, err := f.copy(out, body, asked)
	s.handedOut(req, n, out.err, err, f.audited("file")...)
}

// open reads the file from the offset on. That its size is not the manifest's is an error.
func (f file) open(ctx context.Context, store upload.Store, offset int64) (io.ReadCloser, error) {
	if f.name == upload.ManifestName { // the very bytes that were checked
		return io.NopCloser(bytes.NewReader(f.bundle.Raw[offset:])), nil
	}
	body, o, err := store.Get(ctx, f.bundle.Prefix()+f.name, offset)
	if err != nil {
		return nil, err
	}
	if o.Size != f.size {
		body.Close()
		return nil, fmt.Errorf("it has %d bytes, the manifest says %d: the store is damaged, ringside incidents verify says how far", o.Size, f.size)
	}
	return body, nil
}

func (f file) describe(h http.Header, asked piece) {
	h.Set("Content-Type", f.kind)
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", f.name))
	h.Set("Content-Length", strconv.FormatInt(asked.length, 10))
	if asked.status == http.StatusPartialContent {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", asked.offset, asked.offset+asked.length-1, f.size))
	}
}

// copy sends the piece, and returns how much of it. The end of a whole file is held back until its hash is known to be
// the manifest's.
func (f file) copy(w io.Writer, body io.Reader, asked piece) (n int64, err error) {
	hash, buf := sha256.New(), make([]byte, pieceSize)
	for n < asked.length {
		part := buf[:min(int64(len(buf)), asked.length-n)]
		if _, err = io.ReadFull(body, part); err != nil {
			return n, fmt.Errorf("the store gave %d of %d bytes: %w", n, asked.length, err)
		}
		hash.Write(part)
		if last := n+int64(len(part)) == f.size; last && asked.length == f.size && hex.EncodeToString(hash.Sum(nil)) != f.sha256 {
			return n, errors.New("the file's SHA-256 is not the manifest's: the store is damaged")
		}
		sent, err := w.Write(part)
		n += int64(sent)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// piece is what is asked of a file.
type piece struct {
	offset, length int64
	status         int // 200 for the whole, 206
}

// pieceOf reads Range, and says whether there is such a piece. Several ranges at once, and what is no range, ask for
// the whole (RFC 9110, 14.2); so does a range of another version.
func pieceOf(req *http.Request, etag string, size int64) (piece, bool) {
	whole := piece{0, size, http.StatusOK}
	text, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes=")
	first, last, dash := strings.Cut(strings.TrimSpace(text), "-")
	if version := req.Header.Get("If-Range"); !ok || !dash || req.Method != http.MethodGet || version != "" && version != etag {
		return whole, true
	}
	a, errA := strconv.ParseUint(first, 10, 63)
	b, errB := strconv.ParseUint(last, 10, 63)
	from, to := int64(a), int64(b)
	switch {
	case first == "" && errB == nil: // the last so many
		from, to = max(0, size-to), size-1
		if b == 0 {
			return whole, false
		}
	case last == "" && errA == nil:
		to = size - 1
	case errA != nil || errB != nil || from > to:
		return whole, true
	}
	if from >= size {
		return whole, false
	}
	return piece{from, min(to, size-1) - from + 1, http.StatusPartialContent}, true
}
