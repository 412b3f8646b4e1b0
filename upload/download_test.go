package upload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// files reads all files below dir.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m[e.Name()] = string(b)
	}
	return m
}

func names(m map[string]string) []string {
	var list []string
	for name := range m {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func TestDownload(t *testing.T) {
	for _, compression := range []string{CompressionZstd, CompressionGzip, CompressionNone} {
		t.Run(compression, func(t *testing.T) {
			a, _ := newArchive(t)
			plain := packets(5000)
			b := putBundle(t, a.store, at(0, "n1"), plain, compression)
			object := b.Manifest.Objects[0]
			var reads int
			a.store = tap{Store: a.store, got: func(string, int64) { reads++ }}
			for _, raw := range []bool{false, true} {
				dir := t.TempDir()
				for _, again := range []bool{false, true} { // the second time everything is there
					reads = 0
					var last int64
					list, err := a.Download(t.Context(), b, dir, DownloadOptions{Raw: raw, Progress: func(name string, done, total int64) {
						if name != object.Name || done < last || total != object.Bytes {
							t.Errorf("progress of %s: %d after %d of %d", name, done, last, total)
						}
						last = done
					}})
					want := map[string]string{ManifestName: string(b.Raw), CaptureName: string(plain)}
					path := filepath.Join(dir, b.Incident, b.Node, CaptureName)
					if raw {
						want = map[string]string{ManifestName: string(b.Raw), object.Name: string(squeeze(t, plain, compression))}
						path = filepath.Join(filepath.Dir(path), object.Name)
					}
					if err != nil || len(list) != 1 || list[0].Path != path || last != object.Bytes || (reads == 0) != again {
						t.Fatalf("%v, %v; %d bytes, %d reads", list, err, last, reads)
					}
					if got := files(t, filepath.Dir(path)); fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("raw %v: there is %v", raw, names(got))
					}
				}
			}
		})
	}
}

// Several objects keep their names, whatever they would become.
func TestPlainNames(t *testing.T) {
	tests := []struct {
		name    string
		objects []ObjectFacts
		want    []string
	}{
		{"one capture", []ObjectFacts{{Name: "capture-A.pcapng.zst", Kind: KindCapture}, {Name: "report.json", Kind: "report"}}, []string{CaptureName, "report.json"}},
		{"two captures", []ObjectFacts{{Name: "a.pcapng.zst", Kind: KindCapture}, {Name: "b.pcapng.gz", Kind: KindCapture}}, []string{"a.pcapng", "b.pcapng"}},
		{"the same name", []ObjectFacts{{Name: "x.zst"}, {Name: "x.gz"}, {Name: "x"}}, []string{"x", "x.gz", "x_"}},
		{"the capture's name is taken", []ObjectFacts{{Name: CaptureName}, {Name: "a.zst", Kind: KindCapture}}, []string{CaptureName, "a.zst"}},
		{"the manifest's", []ObjectFacts{{Name: "manifest.json.zst"}}, []string{"manifest.json.zst"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := (&Manifest{Objects: test.objects}).plainNames(); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A download continues where it broke, in the same process and in the next one, and gives up in the end.
func TestDownloadResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newArchive(t)
		plain := packets(20000)
		b := putBundle(t, a.store, at(0, "n1"), plain, CompressionNone)
		size := int64(len(plain))
		inner := a.store
		var offsets []int64
		breakAfter := func(n ...int64) {
			offsets = nil
			a.store = tap{Store: inner, body: func(key string, offset int64, r io.ReadCloser) io.ReadCloser {
				offsets = append(offsets, offset)
				if len(n) == 0 {
					return r
				}
				k := n[0]
				n = n[1:]
				return &breaking{r, k}
			}}
		}
		dir := t.TempDir()
		folder := filepath.Join(dir, b.Incident, b.Node)
		breakAfter(1000, 0, 2000, 1)
		if _, err := a.Download(t.Context(), b, dir, DownloadOptions{}); err != nil || !slices.Equal(offsets, []int64{0, 1000, 1000, 3000, 3001}) {
			t.Fatalf("%v, offsets %v", err, offsets)
		}
		if err := os.Remove(filepath.Join(folder, CaptureName)); err != nil {
			t.Fatal(err)
		}
		breakAfter(5000, 0, 0, 0, 0, 0, 0, 0, 0)
		begun := time.Now()
		_, err := a.Download(t.Context(), b, dir, DownloadOptions{})
		if err == nil || !strings.Contains(err.Error(), "the same command continues it") || errors.Is(err, ErrDamaged) || len(offsets) != resumeTries {
			t.Fatalf("%v, offsets %v", err, offsets)
		}
		if took := time.Since(begun); took != resumePause*31 { // 1+2+4+8+16
			t.Errorf("it gave up after %v", took)
		}
		if got := names(files(t, folder)); !slices.Equal(got, []string{"capture-AAAA.pcapng.part", ManifestName}) {
			t.Errorf("left: %v", got)
		}
		breakAfter()
		if _, err := a.Download(t.Context(), b, dir, DownloadOptions{}); err != nil || !slices.Equal(offsets, []int64{5000}) {
			t.Fatalf("%v, offsets %v", err, offsets)
		}
		if got := files(t, folder); got[CaptureName] != string(plain) || len(got) != 2 {
			t.Errorf("there is %v", names(got))
		}
		// What was there before is of another object: it is found out, and fetched anew, once.
		for _, part := range [][]byte{make([]byte, 7000), make([]byte, size), make([]byte, size+1)} {
			if err := os.Rename(filepath.Join(folder, CaptureName), filepath.Join(folder, "old")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "capture-AAAA.pcapng"+suffixPart), part, 0o600); err != nil {
				t.Fatal(err)
			}
			breakAfter()
			if _, err := a.Download(t.Context(), b, dir, DownloadOptions{}); err != nil || offsets[len(offsets)-1] != 0 || len(offsets) > 2 {
				t.Fatalf("%d bytes of another object: %v, offsets %v", len(part), err, offsets)
			}
			if got := files(t, folder); got[CaptureName] != string(plain) {
				t.Errorf("%d bytes of another object: there is %v", len(part), names(got))
			}
		}
	})
}

// An object that is damaged and whose answers break off too is fetched anew once, and no more.
func TestDamagedAndBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir := newArchive(t)
		b := putBundle(t, a.store, at(0, "n1"), packets(1000), CompressionNone)
		key := b.Prefix() + b.Manifest.Objects[0].Name
		spoil(t, dir, key, func(b []byte) []byte { b[50] ^= 1; return b })
		var offsets []int64
		a.store = tap{Store: a.store, body: func(key string, offset int64, r io.ReadCloser) io.ReadCloser {
			if offsets = append(offsets, offset); offset == 0 {
				return &breaking{r, 1000}
			}
			return r
		}}
		want := []int64{0, 1000, 0, 1000}
		if err := a.Verify(t.Context(), b, nil); !errors.Is(err, ErrDamaged) || !slices.Equal(offsets, want) {
			t.Errorf("verify: %v, offsets %v", err, offsets)
		}
		offsets = nil
		if _, err := a.Download(t.Context(), b, t.TempDir(), DownloadOptions{}); !errors.Is(err, ErrDamaged) || !slices.Equal(offsets, want) {
			t.Errorf("download: %v, offsets %v", err, offsets)
		}
	})
}

// Whatever is wrong with an object is named; it is kept under another name, and the rest is fetched.
func TestDamagedObjects(t *testing.T) {
	a, dir := newArchive(t)
	plain := packets(3000)
	key := at(0, "n1").Prefix() + "capture-AAAA.pcapng.zst"
	report := ObjectFacts{Name: "report.json", Kind: "report", Compression: CompressionNone, Bytes: 2, PlainBytes: 2}
	report.SHA256, report.PlainSHA256 = hexSum([]byte("{}")), hexSum([]byte("{}"))
	put(t, a.store, at(0, "n1").Prefix()+report.Name, []byte("{}"))
	tests := []struct {
		name   string
		spoil  func([]byte) []byte
		change func(*ObjectFacts)
		want   string
		bad    bool // kept
	}{
		{"nothing", nil, nil, "", false},
		{"truncated", func(b []byte) []byte { return b[:len(b)-100] }, nil, "its manifest says", true},
		{"longer", func(b []byte) []byte { return append(b, 0) }, nil, "its manifest says", true},
		{"empty", func(b []byte) []byte { return nil }, nil, "has 0 bytes", true},
		{"a bit", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, nil, "has SHA-256", true},
		{"gone", func(b []byte) []byte { os.Remove(filepath.Join(dir, key)); return nil }, nil, "is not in the store", false},
		{"the content is another", nil, func(o *ObjectFacts) { o.PlainSHA256 = hexSum(nil) }, "decompressed", true},
		{"the content is shorter", nil, func(o *ObjectFacts) { o.PlainBytes++ }, "decompressed", true},
		{"the content is longer", nil, func(o *ObjectFacts) { o.PlainBytes-- }, "cannot be decompressed: it has more than", true},
		{"not compressed so", nil, func(o *ObjectFacts) { o.Compression = CompressionGzip }, "cannot be decompressed", true},
		{"not compressed", nil, func(o *ObjectFacts) { o.Compression = CompressionNone }, "decompressed, its manifest says", true},
		{"a bomb", func([]byte) []byte { return bomb(t) }, func(o *ObjectFacts) {
			b := bomb(t)
			o.Bytes, o.SHA256 = int64(len(b)), hexSum(b)
		}, "cannot be decompressed", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := putBundle(t, a.store, at(0, "n1"), plain, CompressionZstd, func(m *Manifest) {
				if test.change != nil {
					test.change(&m.Objects[0])
				}
				m.Objects = append(m.Objects, report)
			})
			if test.spoil != nil {
				spoil(t, dir, key, test.spoil)
				if test.name == "gone" {
					os.Remove(filepath.Join(dir, key))
				}
			}
			judge := func(what string, err error) {
				t.Helper()
				if test.want == "" && err == nil {
					return
				}
				if err == nil || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), key) {
					t.Errorf("%s: %v, want %q", what, err, test.want)
				}
			}
			judge("verify", a.Verify(t.Context(), b, nil))
			for _, raw := range []bool{false, true} {
				out := t.TempDir()
				list, err := a.Download(t.Context(), b, out, DownloadOptions{Raw: raw})
				judge("download", err)
				got := files(t, filepath.Join(out, b.Incident, b.Node))
				if len(list) == 0 || list[len(list)-1].Name != report.Name || got["report.json"] != "{}" {
					t.Errorf("the rest is not there: %v", names(got))
				}
				if _, bad := got["capture-AAAA.pcapng.zst.bad"]; bad != test.bad || test.bad && len(got) != 3 {
					t.Errorf("there is %v", names(got))
				}
			}
		})
	}
}

// bomb is 1 GiB of zeros in a few KiB.
func bomb(t *testing.T) []byte {
	t.Helper()
	chunk := squeeze(t, make([]byte, 4<<20), CompressionZstd)
	return bytes.Repeat(chunk, 256) // frames one after the other
}

func TestDownloadErrors(t *testing.T) {
	a, _ := newArchive(t)
	b := putBundle(t, a.store, at(0, "n1"), packets(1), CompressionNone)
	dir := t.TempDir()
	folder := filepath.Join(dir, b.Incident, b.Node)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	// A link in the way, as another user could have put it into /tmp, is not followed.
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(folder, "capture-AAAA.pcapng"+suffixPart)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Download(t.Context(), b, dir, DownloadOptions{}); err == nil {
		t.Error("a link was followed")
	}
	if got, _ := os.ReadFile(victim); string(got) != "mine" {
		t.Errorf("the link's target has %q", got)
	}
	if _, err := a.Download(t.Context(), Bundle{Place: b.Place, Problem: ErrUnfinished}, dir, DownloadOptions{}); !errors.Is(err, ErrUnfinished) {
		t.Errorf("without a manifest: %v", err)
	}
}

// Two downloads to one directory do not write into the same file.
func TestDownloadLocks(t *testing.T) {
	a, _ := newArchive(t)
	b := putBundle(t, a.store, at(0, "n1"), packets(100), CompressionNone)
	dir := t.TempDir()
	inner := a.store
	var second error
	a.store = tap{Store: inner, body: func(key string, _ int64, r io.ReadCloser) io.ReadCloser {
		_, second = NewArchive(inner).Download(t.Context(), b, dir, DownloadOptions{})
		return r
	}}
	if _, err := a.Download(t.Context(), b, dir, DownloadOptions{}); err != nil {
		t.Error(err)
	}
	if second == nil || !strings.Contains(second.Error(), "another download") {
		t.Errorf("the second: %v", second)
	}
}
