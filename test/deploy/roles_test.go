package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ringside/ringside/test/faultproxy"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/test/scene"
	"github.com/ringside/ringside/upload"
)

// TestRolesSuffice holds what is asked of S3 against what the policies allow: the recorder and a store that writes, also
// in parts and in vain, against the writer's; looking for bundles and reading them against the reader's; sweep and rm
// against the remover's.
func TestRolesSuffice(t *testing.T) {
	server := s3server.Start(t)
	proxy := faultproxy.Start(t, server)
	store, err := upload.OpenStore(t.Context(), proxy.Config("ringside"), nil)
	if err != nil {
		t.Fatal(err)
	}
	archive := upload.NewArchive(store)
	id := record(t, proxy)
	for _, role := range []struct {
		name string
		act  func() error
		want []string // that must be seen, so that the test looks at something
	}{
		{"writer", func() error { return write(t, store) }, []string{"s3:PutObject", "s3:PutObjectTagging", "s3:AbortMultipartUpload"}},
		{"reader", func() error { return find(t, archive, id) }, []string{"s3:GetObject", "s3:ListBucket"}},
		{"remover", func() error { return remove(t, archive, id) }, []string{"s3:DeleteObject", "s3:ListBucket", "s3:ListBucketMultipartUploads"}},
	} {
		if err := role.act(); err != nil {
			t.Errorf("%s: %v", role.name, err)
		}
		allowed, asked := allowedTo(t, role.name), map[string]bool{}
		for _, r := range proxy.Requests() {
			for _, action := range actionsOf(r) {
				if asked[action] = true; !slices.Contains(allowed, action) {
					t.Errorf("%s %s needs %s, which %s.json does not allow", r.Method, r.URL, action, role.name)
				}
			}
		}
		for _, action := range role.want {
			if !asked[action] {
				t.Errorf("%s: nothing that needs %s was asked for", role.name, action)
			}
		}
		proxy.Forget()
	}
}

// record has a recorder store an incident through the proxy and returns its id.
func record(t *testing.T, proxy *faultproxy.Proxy) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	s, err := scene.New(ringside.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Reach(proxy.URL); err != nil {
		t.Fatal(err)
	}
	c := proxy.Config("ringside")
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.Node, Binary: ringside.Binary(t, ""), Dir: s.Dir, Interfaces: "[auto]", Services: "[redis]",
		More: fmt.Sprintf("upload: {to: %s, s3: {endpoint: %q, region: %s, path_style: true, ca_file: %s, access_key_id: %s, secret_access_key: %s, tags: {team: x}}}",
			c.To, c.S3.Endpoint, c.S3.Region, c.S3.CAFile, c.S3.AccessKeyID, string(c.S3.SecretAccessKey)),
	})
	status, answer, err := r.Post("/v1/triggers", `{"pre": "1s", "post": "1s"}`)
	var receipt struct{ ID string }
	if err = errors.Join(err, json.Unmarshal([]byte(answer), &receipt)); err != nil || status != http.StatusAccepted {
		t.Fatalf("trigger: %d %s %v", status, answer, err)
	}
	await(t, r, "ringside_upload_bundles_total 1")
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	return receipt.ID
}

// write stores an object in parts, and fails to.
func write(t *testing.T, store upload.Store) error {
	large := bytes.Repeat([]byte("ringside"), 1<<20)
	broken := io.MultiReader(bytes.NewReader(large), iotest.ErrReader(errors.New("broken")))
	err := store.Put(t.Context(), "large", bytes.NewReader(large), upload.PutOptions{})
	if store.Put(t.Context(), "broken", broken, upload.PutOptions{}) == nil {
		err = errors.Join(err, errors.New("a broken object was stored"))
	}
	return err
}

// find does what ls, show, get and verify do.
func find(t *testing.T, archive *upload.Archive, id string) error {
	bundles, err := archive.Find(t.Context(), id)
	if err != nil || len(bundles) != 1 {
		return fmt.Errorf("%d bundles: %w", len(bundles), err)
	}
	for _, err := range archive.List(t.Context(), upload.Query{}) {
		if err != nil {
			return err
		}
	}
	return archive.Verify(t.Context(), bundles[0], nil)
}

// remove does what rm and sweep do.
func remove(t *testing.T, archive *upload.Archive, id string) error {
	bundles, err := archive.Find(t.Context(), id)
	for _, b := range bundles {
		err = errors.Join(err, archive.Remove(t.Context(), b.Place))
	}
	for o, sweepErr := range archive.Sweep(t.Context(), upload.SweepOptions{Before: time.Now()}) {
		err = errors.Join(err, sweepErr, o.Err)
	}
	return err
}

// allowedTo is what a policy allows.
func allowedTo(t *testing.T, name string) []string {
	t.Helper()
	var p struct{ Statement []struct{ Action any } }
	if err := json.Unmarshal([]byte(read(t, "iam/"+name+".json")), &p); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, s := range p.Statement {
		list = append(list, actions(s.Action)...)
	}
	return list
}

// actionsOf is what S3 wants allowed for a request.
func actionsOf(r faultproxy.Request) []string {
	path, query, _ := strings.Cut(r.URL, "?")
	q, _ := url.ParseQuery(query)
	object := strings.Count(strings.Trim(path, "/"), "/") > 0
	write := []string{"s3:PutObject"}
	if r.Header.Get("X-Amz-Tagging") != "" {
		write = append(write, "s3:PutObjectTagging")
	}
	switch {
	case r.Method == http.MethodPut && object, r.Method == http.MethodPost && object && (q.Has("uploads") || q.Has("uploadId")):
		return write
	case r.Method == http.MethodDelete && object && q.Has("uploadId"):
		return []string{"s3:AbortMultipartUpload"}
	case r.Method == http.MethodDelete && object:
		return []string{"s3:DeleteObject"}
	case r.Method == http.MethodGet && q.Has("uploads"):
		return []string{"s3:ListBucketMultipartUploads"}
	case r.Method == http.MethodGet && q.Has("list-type"):
		return []string{"s3:ListBucket"}
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && object:
		return []string{"s3:GetObject"}
	}
	return []string{"nothing known: " + r.Method + " " + r.URL}
}
