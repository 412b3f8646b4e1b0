package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/upload"
)

func listFolders(t *testing.T, s upload.Store) {
	all := []string{"a-b/x", "a/1", "a/b/c/d", "a/b/e", "a0", "b", "cluster=x/1"}
	for _, key := range all {
		put(t, s, key, key)
	}
	for _, c := range []struct {
		prefix  string
		keys    []string
		folders []string // nil where prefix is no folder
	}{
		{"", []string{"a-b/x", "a/1", "a/b/c/d", "a/b/e", "a0", "b", "cluster=x/1"}, []string{"a", "a-b", "cluster=x"}},
		{"a", []string{"a-b/x", "a/1", "a/b/c/d", "a/b/e", "a0"}, nil},
		{"a/", []string{"a/1", "a/b/c/d", "a/b/e"}, []string{"b"}},
		{"a/b/", []string{"a/b/c/d", "a/b/e"}, []string{"c"}},
		{"a/b/c", []string{"a/b/c/d"}, nil},
		{"a/b/c/", []string{"a/b/c/d"}, []string{}},
		{"b", []string{"b"}, nil},
		{"b/", nil, []string{}},
		{"nothing/", nil, []string{}},
		{"clus", []string{"cluster=x/1"}, nil},
	} {
		if got := keys(t, s, c.prefix); !slices.Equal(got, c.keys) {
			t.Errorf("list %q: %q, want %q", c.prefix, got, c.keys)
		}
		if c.folders == nil {
			continue
		}
		got, err := s.Folders(t.Context(), c.prefix)
		if err != nil || !slices.Equal(got, c.folders) {
			t.Errorf("folders %q: %q, %v, want %q", c.prefix, got, err, c.folders)
		}
	}
	for o, err := range s.List(t.Context(), "a/") { // stopping early is fine
		if err != nil || o.Key != "a/1" || o.Size != 3 {
			t.Errorf("first below a/: %+v, %v", o, err)
		}
		break
	}
	if err := s.Delete(t.Context(), "a/b/c/d"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Folders(t.Context(), "a/b/"); err != nil || len(got) > 0 {
		t.Errorf("folders of which all keys are gone: %q, %v", got, err)
	}
}

// listMany passes the thousand keys that S3 answers with at once.
func listMany(t *testing.T, s upload.Store) {
	const n = 1050
	want := make([]string, n)
	next := make(chan string)
	var writers sync.WaitGroup
	for range 16 {
		writers.Go(func() {
			for key := range next {
				if err := s.Put(t.Context(), key, strings.NewReader("x"), upload.PutOptions{Size: 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		want[i] = fmt.Sprintf("many/node=%04d/x", i)
		next <- want[i]
	}
	close(next)
	writers.Wait()
	if got := keys(t, s, "many/"); !slices.Equal(got, want) {
		t.Errorf("listed %d keys, want %d in order", len(got), n)
	}
	folders, err := s.Folders(t.Context(), "many/")
	if err != nil || len(folders) != n || folders[n-1] != "node=1049" {
		t.Errorf("%d folders, %v, want %d", len(folders), err, n)
	}
}

// empty looks at a store that nobody has written to. A directory may say that there is none.
func empty(t *testing.T, s upload.Store) {
	for o, err := range s.List(t.Context(), "") {
		if !errors.Is(err, upload.ErrNotFound) {
			t.Errorf("list: %+v, %v", o, err)
		}
	}
	if folders, err := s.Folders(t.Context(), ""); len(folders) > 0 || err != nil && !errors.Is(err, upload.ErrNotFound) {
		t.Errorf("folders: %q, %v", folders, err)
	}
	for u, err := range s.Unfinished(t.Context(), "") {
		if !errors.Is(err, upload.ErrNotFound) {
			t.Errorf("unfinished: %+v, %v", u, err)
		}
	}
	mustNotBe(t, s, "a")
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

// unfinished looks at a Put under way from outside, and aborts it: the Put fails, and nothing is left of it.
func unfinished(t *testing.T, s upload.Store) {
	const key = "un/finished"
	put(t, s, "un/other", "x")
	look := func(prefix string) (all []upload.Unfinished) {
		for u, err := range s.Unfinished(t.Context(), prefix) {
			if err != nil {
				t.Error(err)
			}
			all = append(all, u)
		}
		return all
	}
	r := &stopReader{part + part/2, func() error { // one part is under way, and its upload has begun
		found := look("un/")
		if len(found) != 1 || found[0].Key != key || time.Since(found[0].Begun) > time.Hour {
			t.Errorf("unfinished: %+v, want one of %s", found, key)
		}
		if n := len(look("un/fin")) + len(look("")) + len(look("other/")); n != 2 {
			t.Errorf("%d by three other prefixes, want 2", n)
		}
		for _, u := range found {
			if err := s.Abort(t.Context(), u); err != nil {
				t.Error(err)
			}
			if err := s.Abort(t.Context(), u); err != nil {
				t.Errorf("abort again: %v", err)
			}
		}
		return nil
	}}
	if err := s.Put(t.Context(), key, r, upload.PutOptions{}); err == nil {
		t.Error("an aborted put succeeded")
	}
	if found := look(""); len(found) > 0 {
		t.Errorf("left behind: %+v", found)
	}
	mustNotBe(t, s, key)
	if all := keys(t, s, ""); !slices.Equal(all, []string{"un/other"}) {
		t.Errorf("the store holds %q", all)
	}
}

// cancelled cancels before, and in the midst.
func cancelled(t *testing.T, s upload.Store) {
	put(t, s, "there", "x")
	done, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, getErr := s.Get(done, "there", 0)
	_, foldersErr := s.Folders(done, "")
	var listErr error
	for _, listErr = range s.List(done, "") {
	}
	for name, err := range map[string]error{
		"put":     s.Put(done, "a", strings.NewReader("x"), upload.PutOptions{}),
		"put new": s.PutNew(done, "a", []byte("x"), upload.PutOptions{}),
		"delete":  s.Delete(done, "there"),
		"get":     getErr, "list": listErr, "folders": foldersErr,
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
	for _, size := range []int{0, 2 * part} {
		ctx, cancel := context.WithCancel(t.Context())
		r := &stopReader{size, func() error { cancel(); return nil }}
		if err := s.Put(ctx, "a", r, upload.PutOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after %d bytes: %v, want context.Canceled", size, err)
		}
	}
	for u, err := range s.Unfinished(t.Context(), "") {
		t.Errorf("left behind: %+v, %v", u, err)
	}
	if all := keys(t, s, ""); !slices.Equal(all, []string{"there"}) {
		t.Errorf("the store holds %q", all)
	}
}

// link reads by the URL alone.
func link(t *testing.T, client *http.Client, s upload.Store) {
	put(t, s, "link/to me", "linked")
	url, err := s.Link(t.Context(), "link/to me", time.Minute)
	if client == nil {
		if !errors.Is(err, upload.ErrUnsupported) {
			t.Errorf("a link where there are none: %v, want ErrUnsupported", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || string(b) != "linked" || err != nil {
		t.Errorf("by the link: %d, %q, %v", resp.StatusCode, b, err)
	}
}
