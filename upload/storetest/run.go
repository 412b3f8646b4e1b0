package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/upload"
)

// Run tests the stores that open returns, each empty. Several tests may use one server, under prefixes of their own. The
// client follows the store's links; nil where it has none.
func Run(t *testing.T, client *http.Client, open func(t *testing.T) upload.Store) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s upload.Store)
	}{
		{"put and get", putGet},
		{"sizes around a part", sizes},
		{"odd keys", oddKeys},
		{"bad keys", badKeys},
		{"replace and delete", replaceDelete},
		{"failing reader", failingReader},
		{"only one new", onlyOneNew},
		{"list and folders", listFolders},
		{"list 1050", listMany},
		{"empty", empty},
		{"unfinished", unfinished},
		{"cancelled", cancelled},
		{"link", func(t *testing.T, s upload.Store) { link(t, client, s) }},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func put(t *testing.T, s upload.Store, key, content string) {
	t.Helper()
	err := s.Put(t.Context(), key, strings.NewReader(content), upload.PutOptions{Size: int64(len(content)), Type: "text/plain"})
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
}

func get(t *testing.T, s upload.Store, key string, offset int64) ([]byte, upload.Object) {
	t.Helper()
	r, o, err := s.Get(t.Context(), key, offset)
	if err != nil {
		t.Fatalf("get %q from %d: %v", key, offset, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %q from %d: %v", key, offset, err)
	}
	return b, o
}

func keys(t *testing.T, s upload.Store, prefix string) []string {
	t.Helper()
	var all []string
	for o, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("list %q: %v", prefix, err)
		}
		all = append(all, o.Key)
	}
	return all
}

func mustNotBe(t *testing.T, s upload.Store, key string) {
	t.Helper()
	if r, _, err := s.Get(t.Context(), key, 0); !errors.Is(err, upload.ErrNotFound) {
		if err == nil {
			r.Close()
		}
		t.Errorf("get %q: %v, want ErrNotFound", key, err)
	}
}

func putGet(t *testing.T, s upload.Store) {
	before := time.Now().Add(-2 * time.Second) // stores keep seconds
	put(t, s, "a/b/object", "0123456789")
	for offset := range int64(11) {
		b, o := get(t, s, "a/b/object", offset)
		if want := "0123456789"[offset:]; string(b) != want || o.Size != 10 || o.Key != "a/b/object" || o.Modified.Before(before) {
			t.Errorf("from %d: %q of %+v, want %q of 10 bytes", offset, b, o, want)
		}
	}
	for _, offset := range []int64{11, 1 << 40, -1} {
		if r, _, err := s.Get(t.Context(), "a/b/object", offset); err == nil {
			r.Close()
			t.Errorf("offset %d of 10 bytes: no error", offset)
		}
	}
	mustNotBe(t, s, "a/b/other")
	mustNotBe(t, s, "a/b")
	mustNotBe(t, s, "x/y/z")
	if strings.Contains(s.String(), "secret") || !strings.Contains(s.String(), "://") {
		t.Errorf("the store calls itself %q, want a URL", s)
	}
}

const part = 5 << 20 // what S3 takes at least

// sizes puts random bytes by readers that say nothing of their size, and of which some tell a wrong one.
func sizes(t *testing.T, s upload.Store) {
	data := make([]byte, 12<<20+7)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	for _, size := range []int{0, 1, part - 1, part, part + 1, 2 * part, len(data)} {
		for _, told := range []int64{0, int64(size) / 2} {
			key := fmt.Sprintf("sizes/%d-%d", size, told)
			r := struct{ io.Reader }{bytes.NewReader(data[:size])}
			if err := s.Put(t.Context(), key, r, upload.PutOptions{Size: told}); err != nil {
				t.Fatalf("put %s: %v", key, err)
			}
			if b, o := get(t, s, key, 0); !bytes.Equal(b, data[:size]) || o.Size != int64(size) {
				t.Errorf("%s: %d other bytes of %d", key, len(b), o.Size)
			}
		}
	}
	if b, _ := get(t, s, fmt.Sprintf("sizes/%d-0", len(data)), part+3); !bytes.Equal(b, data[part+3:]) {
		t.Errorf("from %d: %d other bytes", part+3, len(b))
	}
}

func oddKeys(t *testing.T, s upload.Store) {
	odd := []string{
		"cluster=c/date=2030-01-02/incident=I/node=n-1.example/manifest.json",
		"odd/a b", "odd/a+b", "odd/%41", "odd/%", "odd/a&b=c?d#e", "odd/ü/日本語", "odd/..a", "odd/.hidden", "odd/...", "odd/a\"b'c", "odd/<x>", `odd/a\b`,
		"odd/" + strings.Repeat("x", 230),
	}
	for _, key := range odd {
		put(t, s, key, "content of "+key)
	}
	for _, key := range odd {
		if b, _ := get(t, s, key, 0); string(b) != "content of "+key {
			t.Errorf("%q holds %q", key, b)
		}
	}
	slices.Sort(odd)
	if all := keys(t, s, ""); !slices.Equal(all, odd) {
		t.Errorf("listed\n%q, want\n%q", all, odd)
	}
	for _, key := range odd {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	if all := keys(t, s, ""); len(all) > 0 {
		t.Errorf("%q are left", all)
	}
}

func badKeys(t *testing.T, s upload.Store) {
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..", "a\x00b", "a\nb", "\xff",
		"a/.b.ABCDEFGHIJ.tmp", strings.Repeat("x", 256), strings.Repeat("x/", 600) + "x",
	} {
		if err := s.Put(t.Context(), key, strings.NewReader("x"), upload.PutOptions{}); err == nil {
			t.Errorf("put %q: no error", key)
		}
		if err := s.PutNew(t.Context(), key, []byte("x"), upload.PutOptions{}); err == nil {
			t.Errorf("put new %q: no error", key)
		}
		if r, _, err := s.Get(t.Context(), key, 0); err == nil {
			r.Close()
			t.Errorf("get %q: no error", key)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("delete %q: no error", key)
		}
		if err := s.Abort(t.Context(), upload.Unfinished{Key: key, ID: "x"}); err == nil {
			t.Errorf("abort %q: no error", key)
		}
		if _, err := s.Link(t.Context(), key, time.Minute); err == nil {
			t.Errorf("link to %q: no error", key)
		}
	}
	put(t, s, "good", "x")
	if all := keys(t, s, ""); !slices.Equal(all, []string{"good"}) {
		t.Errorf("the store holds %q", all)
	}
}

func replaceDelete(t *testing.T, s upload.Store) {
	put(t, s, "f/a", "first")
	put(t, s, "f/b", "other")
	put(t, s, "f/a", "second, longer")
	if b, o := get(t, s, "f/a", 0); string(b) != "second, longer" || o.Size != 14 {
		t.Errorf("replaced: %q of %d bytes", b, o.Size)
	}
	for range 2 { // deleting what is gone is no error
		if err := s.Delete(t.Context(), "f/a"); err != nil {
			t.Fatal(err)
		}
		mustNotBe(t, s, "f/a")
	}
	if err := s.Delete(t.Context(), "never/was"); err != nil {
		t.Error(err)
	}
	if b, _ := get(t, s, "f/b", 0); string(b) != "other" {
		t.Errorf("its neighbour holds %q", b)
	}
}

// stopReader yields size bytes, then calls then, once, and returns its error, or the end.
type stopReader struct {
	size int
	then func() error
}

func (r *stopReader) Read(b []byte) (int, error) {
	if r.size == 0 {
		if err := r.then(); err != nil {
			return 0, err
		}
		return 0, io.EOF
	}
	n := min(len(b), r.size)
	clear(b[:n])
	r.size -= n
	return n, nil
}

func failingReader(t *testing.T, s upload.Store) {
	broken := errors.New("the source broke")
	put(t, s, "kept", "as it was")
	for _, size := range []int{0, 1, part, 11 << 20} {
		for _, key := range []string{"kept", "never"} {
			r := &stopReader{size, func() error { return broken }}
			if err := s.Put(t.Context(), key, r, upload.PutOptions{Size: int64(size)}); !errors.Is(err, broken) {
				t.Errorf("a reader that fails after %d bytes: %v, want its error", size, err)
			}
		}
		mustNotBe(t, s, "never")
		if b, _ := get(t, s, "kept", 0); string(b) != "as it was" {
			t.Errorf("the object that was there holds %d bytes", len(b))
		}
	}
	for u, err := range s.Unfinished(t.Context(), "") {
		t.Errorf("left behind: %+v, %v", u, err)
	}
}

// onlyOneNew lets 16 writers race.
func onlyOneNew(t *testing.T, s upload.Store) {
	for round := range 5 {
		key := fmt.Sprintf("new/%d/manifest.json", round)
		results := make([]error, 16)
		var writers sync.WaitGroup
		for i := range results {
			writers.Go(func() {
				results[i] = s.PutNew(t.Context(), key, fmt.Appendf(nil, "by %d", i), upload.PutOptions{})
			})
		}
		writers.Wait()
		winner, wins := -1, 0
		for i, err := range results {
			switch {
			case err == nil:
				winner, wins = i, wins+1
			case !errors.Is(err, upload.ErrExists):
				t.Errorf("writer %d: %v, want ErrExists", i, err)
			}
		}
		b, _ := get(t, s, key, 0)
		if wins != 1 || string(b) != fmt.Sprintf("by %d", winner) {
			t.Errorf("%d winners, the last %d; stored is %q", wins, winner, b)
		}
		if err := s.PutNew(t.Context(), key, []byte("late"), upload.PutOptions{}); !errors.Is(err, upload.ErrExists) {
			t.Errorf("late: %v, want ErrExists", err)
		}
	}
	if all := keys(t, s, "new/"); len(all) != 5 {
		t.Errorf("5 races left %q", all)
	}
}
