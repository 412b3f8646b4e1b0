package upload_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringside/ringside/upload"
	"github.com/ringside/ringside/upload/storetest"
)

func openDir(t *testing.T, dir string, maxBytes int64) upload.Store {
	t.Helper()
	s, err := upload.OpenStore(t.Context(), upload.Config{To: "file://" + dir, MaxBytes: maxBytes}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDirStore(t *testing.T) {
	t.Parallel() // most of it is waiting for the disk
	storetest.Run(t, nil, func(t *testing.T) upload.Store { return openDir(t, t.TempDir()+"/new", 0) })
}

// TestDirFull fills a store up to its limit, in every way, and makes room.
func TestDirFull(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, 1000)
	put := func(key string, size int, told int64) error {
		return s.Put(t.Context(), key, bytes.NewReader(make([]byte, size)), upload.PutOptions{Size: told})
	}
	full := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, upload.ErrFull) || !strings.Contains(err.Error(), "ringside incidents rm") {
			t.Errorf("%s: %v, want ErrFull and what to do", what, err)
		}
	}
	fine := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	fine("600 of 1000", put("f/a", 600, 0))
	full("500 more, told", put("f/b", 500, 500))
	full("500 more, untold", put("f/b", 500, 0))
	full("told too much", put("f/b", 1, 401))
	full("a manifest of 500", s.PutNew(t.Context(), "f/m", make([]byte, 500), upload.PutOptions{}))
	fine("400 more", put("f/b", 400, 400))
	full("one more", put("f/c", 1, 0))
	fine("an empty one", put("f/c", 0, 0))
	fine("delete", s.Delete(t.Context(), "f/b"))
	fine("again 400", put("f/b", 400, 0))
	if err := os.Remove(filepath.Join(dir, "f/b")); err != nil { // somebody else makes room
		t.Fatal(err)
	}
	fine("again 400 after another's removal", put("f/b", 400, 0))
	fine("delete", s.Delete(t.Context(), "f/a"))
	for range 5 { // what is replaced counts until it is, and no longer
		fine("replace", put("f/b", 500, 500))
	}
	for u, err := range s.Unfinished(t.Context(), "") {
		t.Errorf("left behind: %+v, %v", u, err)
	}
	full("a store opened anew", openDir(t, dir, 1000).PutNew(t.Context(), "x", make([]byte, 501), upload.PutOptions{}))
}

// TestDirForeign puts links, a pipe-like folder and another's temporary file into a store.
func TestDirForeign(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s := openDir(t, dir, 0)
	if err := s.Put(t.Context(), "f/a", strings.NewReader("x"), upload.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(outside, "secret")
	for _, err := range []error{
		os.WriteFile(secret, []byte("secret"), 0o600),
		os.Symlink(secret, filepath.Join(dir, "f/file")),
		os.Symlink(outside, filepath.Join(dir, "f/folder")),
		os.Symlink("a", filepath.Join(dir, "f/inside")),
		os.Mkdir(filepath.Join(dir, "f/empty"), 0o755),
		os.WriteFile(filepath.Join(dir, "f/.a.ABCDEFGHIJ.tmp"), []byte("part"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"f/file", "f/folder/secret", "f/inside", "f/empty"} {
		if r, _, err := s.Get(t.Context(), key, 0); err == nil {
			b, _ := io.ReadAll(r)
			r.Close()
			t.Errorf("%s was read: %q", key, b)
		}
	}
	if err := s.Put(t.Context(), "f/folder/new", strings.NewReader("x"), upload.PutOptions{}); err == nil {
		t.Error("an object was written outside")
	}
	if err := s.Delete(t.Context(), "f/folder/secret"); err == nil {
		t.Error("deleting outside was no error")
	}
	if b, err := os.ReadFile(secret); string(b) != "secret" {
		t.Errorf("the file outside: %q, %v", b, err)
	}
	var all []string
	for o, err := range s.List(t.Context(), "") {
		all = append(all, o.Key)
		if err != nil {
			t.Error(err)
		}
	}
	if strings.Join(all, " ") != "f/a" {
		t.Errorf("listed %q, want f/a alone", all)
	}
	for u, err := range s.Unfinished(t.Context(), "f/") {
		if err != nil || u.Key != "f/a" {
			t.Errorf("unfinished: %+v, %v", u, err)
		}
		if err := s.Abort(t.Context(), upload.Unfinished{Key: "f/b", ID: u.ID}); err == nil {
			t.Error("aborted under another key")
		}
		if err := s.Abort(t.Context(), u); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "f/.a.ABCDEFGHIJ.tmp")); !os.IsNotExist(err) {
		t.Errorf("the temporary file: %v, want it gone", err)
	}
	if err := s.Delete(t.Context(), "f/a"); err != nil {
		t.Error(err)
	}
}
