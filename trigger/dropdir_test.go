package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// dropTest is a drop directory whose requests are all accepted, unless verdict says otherwise.
type dropTest struct {
	*testing.T
	dir     string
	verdict func(Request) error

	mu         sync.Mutex
	taken      []Request
	suppressed []string // reason and kind
	stop       func()
}

func newDropTest(t *testing.T) *dropTest {
	return &dropTest{T: t, dir: filepath.Join(t.TempDir(), "drop")}
}

// run runs the source until stop is called or the test ends.
func (d *dropTest) run() *dropTest {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	source := NewDropDir(d.dir, d.accept, d.suppress, zap.NewNop())
	go func() { ended <- source.Run(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			d.Error(err)
		}
	})
	d.Cleanup(d.stop)
	return d
}

func (d *dropTest) accept(_ context.Context, r Request) (Receipt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.verdict != nil {
		if err := d.verdict(r); err != nil {
			return Receipt{}, err
		}
	}
	d.taken = append(d.taken, r)
	return Receipt{ID: r.ID, Incident: r.ID, From: r.At, To: r.At.Add(time.Minute)}, nil
}

func (d *dropTest) suppress(source, reason, kind string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if source != SourceFile {
		d.Errorf("source %s", source)
	}
	d.suppressed = append(d.suppressed, reason+" "+kind)
}

// put makes files by renaming them into the directory, complete.
func (d *dropTest) put(files map[string]string) {
	d.Helper()
	d.must(os.MkdirAll(d.dir, 0o750))
	outside := filepath.Join(filepath.Dir(d.dir), "outside")
	for name, text := range files {
		d.must(os.WriteFile(outside, []byte(text), 0o644))
		d.must(os.Rename(outside, filepath.Join(d.dir, name)))
	}
}

func (d *dropTest) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *dropTest) path(name string) string { return filepath.Join(d.dir, name) }

func (d *dropTest) there(name string) bool {
	_, err := os.Lstat(d.path(name))
	return err == nil
}

// await waits until the file is answered as it should be and gone, and returns the answer.
func (d *dropTest) await(answer, name string) string {
	d.Helper()
	d.until(d.dir, func() bool { return d.there(name+answer) && !d.there(name) })
	text, err := os.ReadFile(d.path(name + answer))
	d.must(err)
	return string(text)
}

// until waits until something holds that changes with a directory.
func (d *dropTest) until(dir string, holds func() bool) {
	d.Helper()
	w, err := fsnotify.NewWatcher()
	d.must(err)
	defer w.Close()
	d.must(w.Add(dir))
	for limit := time.After(20 * time.Second); !holds(); {
		select {
		case <-w.Events:
		case <-limit:
			list, _ := os.ReadDir(dir)
			d.Fatalf("waited 20 s, %s has %v", dir, list)
		}
	}
}

// request returns the one that was made of a file.
func (d *dropTest) request(name string) Request {
	d.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.taken {
		if strings.HasSuffix(r.Client, fmt.Sprintf("file %q", name)) {
			return r
		}
	}
	d.Fatalf("no request was made of %s: %+v", name, d.taken)
	return Request{}
}

func TestDropDirAccepts(t *testing.T) {
	d := newDropTest(t)
	before := time.Now().Add(-10 * time.Millisecond) // the kernel's file times are a tick behind
	own := NewID(before)
	d.put(map[string]string{
		"slow.json": `{"reason": "queries are slow", "pre": "1m", "labels": {"team": "db"}}`,
		"past.json": `{"at": "-5m"}`,
		"own.json":  `{"id": "` + own + `"}`,
		"disk full": "", "empty.json": "", "blank.json": " \n",
		".hidden": "", "a.tmp": "", "b.part": "", "c~": "",
	})
	after := time.Now()
	d.run()
	for name, want := range map[string]Request{
		"slow.json":  {Reason: "queries are slow", Pre: ptr(time.Minute), Labels: map[string]string{"team": "db"}},
		"past.json":  {},
		"own.json":   {},
		"disk full":  {Reason: "disk full"},
		"empty.json": {Reason: "empty"},
		"blank.json": {},
	} {
		var receipt Receipt
		d.must(json.Unmarshal([]byte(d.await(accepted, name)), &receipt))
		got := d.request(name)
		if receipt.ID != got.ID || got.Reason != want.Reason || got.Source != SourceFile || fmt.Sprint(got.Labels) != fmt.Sprint(want.Labels) ||
			(got.Pre == nil) != (want.Pre == nil) || !strings.HasPrefix(got.Client, fmt.Sprintf("uid %d, ", os.Getuid())) {
			t.Errorf("%s: %+v, receipt %+v, want %+v", name, got, receipt, want)
		}
		at := got.At
		if name == "past.json" {
			at = at.Add(5 * time.Minute)
		}
		if at.Before(before) || at.After(after) {
			t.Errorf("%s: at %v, and it was put there between %v and %v", name, got.At, before, after)
		}
		if err := got.Check(after); err != nil || (got.ID == own) != (name == "own.json") {
			t.Errorf("%s: id %s, %v", name, got.ID, err)
		}
	}
	d.stop()
	if list, _ := filepath.Glob(d.path("*")); len(list) != 6+4 || len(d.taken) != 6 || len(d.suppressed) != 0 || !d.there(".hidden") || d.there(tempName) {
		t.Errorf("%v, %d taken, suppressed %v", list, len(d.taken), d.suppressed)
	}
}

func TestDropDirRefuses(t *testing.T) {
	d := newDropTest(t)
	d.verdict = func(r Request) error {
		if r.Reason == "again" {
			return &Refusal{Status: 429, Kind: RefusedCooldown, Detail: "again, so soon"}
		}
		return nil
	}
	secret := filepath.Join(t.TempDir(), "secret")
	d.must(os.WriteFile(secret, []byte(`{"reason": "secret"}`), 0o600))
	long := strings.Repeat("n", 240)
	d.put(map[string]string{
		"list.json": "[]", "late.json": `{"reason": "known", "post": "1y"}`, "big.json": strings.Repeat(" ", MaxBody+1), "text.txt": "{}",
		"a\nb": "", long: "", "again": "", "good": "",
	})
	d.must(os.Symlink(secret, d.path("link.json")))
	d.must(unix.Mkfifo(d.path("pipe.json"), 0o600))
	d.must(os.MkdirAll(d.path("dir.json/below"), 0o700)) // cannot be removed, and is refused once
	// Traps: answers must not be written through links.
	for _, name := range []string{"good" + accepted, "again" + refused, tempName} {
		d.must(os.Symlink(secret, d.path(name)))
	}
	d.put(map[string]string{"list.json" + accepted: "of an earlier file"})
	d.run()
	for name, want := range map[string]string{
		"list.json": "the request is a list",
		"late.json": `post "1y" is no duration`,
		"big.json":  "the request has 65537 bytes: write 65536 or fewer\n",
		"text.txt":  "the file is not empty: name it text.txt.json",
		"a\nb":      "cannot be printed",
		"again":     "again, so soon\n",
		"link.json": "it is no regular file but a symbolic link: put a file here\n",
		"pipe.json": "it is no regular file but a pipe",
	} {
		if text := d.await(refused, name); !strings.Contains(text, want) {
			t.Errorf("%s: %s", name, text)
		}
	}
	if d.await(refused, long[:200]); d.there(long) {
		t.Error("the file with the long name is still there")
	}
	d.await(accepted, "good")
	d.put(map[string]string{"afterwards": ""}) // makes it look at the directory once more
	d.await(accepted, "afterwards")
	d.stop()
	if text, err := os.ReadFile(d.path("dir.json" + refused)); err != nil || !d.there("dir.json") || !strings.Contains(string(text), "a directory") {
		t.Errorf("directory: %s, %v", text, err)
	}
	if text, err := os.ReadFile(secret); err != nil || string(text) != `{"reason": "secret"}` {
		t.Errorf("the file that the link leads to: %s, %v", text, err)
	}
	if d.there("list.json" + accepted) {
		t.Error("the answer to an earlier file of the name is still there")
	}
	counts := make(map[string]int)
	for _, s := range d.suppressed {
		counts[s]++
	}
	if fmt.Sprint(counts) != "map[ invalid:8 known invalid:1]" || len(d.taken) != 2 {
		t.Errorf("suppressed %v, taken %+v", counts, d.taken)
	}
}

// A file that the engine had no time for, or could not keep, is not refused but tried again, as the same trigger.
func TestDropDirTriesAgain(t *testing.T) {
	d := newDropTest(t)
	var ids []string
	stopping := make(chan struct{})
	d.verdict = func(r Request) error {
		ids = append(ids, r.ID+r.At.String())
		switch len(ids) {
		case 1:
			return &Refusal{Status: 429, Kind: RefusedRate, Detail: "too many"}
		case 2:
			close(stopping)
			return errors.New("stopping")
		}
		return nil
	}
	d.put(map[string]string{"file.json": "{}"})
	d.run()
	<-stopping
	d.stop()
	if !d.there("file.json") || d.there("file.json"+accepted) || d.there("file.json"+refused) {
		t.Fatal("the file was answered")
	}
	d.run() // as after a crash
	d.await(accepted, "file.json")
	if len(ids) != 3 || ids[0] != ids[1] || ids[1] != ids[2] {
		t.Errorf("asked with %q, want the same three times", ids)
	}
}

// A file is not taken while somebody has it open for writing, however long nothing is written.
func TestDropDirWaitsForWriters(t *testing.T) {
	d := newDropTest(t)
	d.put(nil)
	f, err := os.Create(d.path("slow.json"))
	d.must(err)
	defer f.Close()
	if probe, err := os.Open(d.path("slow.json")); err != nil {
		t.Fatal(err)
	} else if free := !beingWritten(probe); free {
		probe.Close()
		t.Skip("no leases on this file system")
	} else {
		probe.Close()
	}
	d.run()
	d.put(map[string]string{"later": ""})
	d.await(accepted, "later") // slow.json was older when it was looked at
	d.mu.Lock()
	if len(d.taken) != 1 {
		t.Errorf("taken: %+v", d.taken)
	}
	d.mu.Unlock()
	_, err = f.WriteString(`{"reason": "slow"}`)
	d.must(errors.Join(err, f.Close()))
	d.await(accepted, "slow.json")
	if r := d.request("slow.json"); r.Reason != "slow" {
		t.Errorf("%+v", r)
	}
}

// The directory is made, and watched again after it was replaced.
func TestDropDirReplaced(t *testing.T) {
	d := newDropTest(t).run()
	d.until(filepath.Dir(d.dir), func() bool { return d.there("") })
	if info, err := os.Stat(d.dir); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	d.put(map[string]string{"one": ""})
	d.await(accepted, "one")
	d.must(os.Rename(d.dir, d.dir+".old"))
	d.put(map[string]string{"two": ""})
	d.await(accepted, "two")
	d.must(os.RemoveAll(d.dir))
	d.put(map[string]string{"three": ""})
	d.await(accepted, "three")
	if len(d.taken) != 3 {
		t.Errorf("%+v", d.taken)
	}
}

// A directory that cannot be used is tried again, and said once.
func TestDropDirReport(t *testing.T) {
	d := newDropTest(t)
	d.must(os.WriteFile(d.dir, nil, 0o600))
	source := NewDropDir(d.dir, d.accept, nil, zap.NewNop())
	if err := source.watch(t.Context()); err == nil || !strings.Contains(err.Error(), "make it, or set trigger.drop_dir to another") {
		t.Error(err)
	}
}

// Many files at once are each taken once.
func TestDropDirFlood(t *testing.T) {
	const files = 500
	d := newDropTest(t)
	d.put(nil)
	all := make(chan struct{})
	ids := make(map[string]int)
	d.verdict = func(r Request) error {
		if ids[r.ID]++; len(ids) == files {
			close(all)
		}
		return nil
	}
	d.run()
	for i := range files {
		d.must(os.WriteFile(d.path(fmt.Sprint("file", i)), nil, 0o600))
	}
	<-all
	d.stop()
	if len(d.taken) != files {
		t.Errorf("%d requests of %d files", len(d.taken), files)
	}
}

func TestDropDirCleansAnswers(t *testing.T) {
	d := newDropTest(t)
	d.put(nil)
	for i := range maxAnswers + 5 { // the higher, the older; three are older than a day
		name := d.path(fmt.Sprintf("%04d%s", i, []string{accepted, refused}[i%2]))
		d.must(os.WriteFile(name, nil, 0o600))
		at := time.Now().Add(-time.Duration(i) * time.Second)
		if i >= 3 && i < 6 {
			at = time.Now().Add(-keepAnswer - time.Minute)
		}
		d.must(os.Chtimes(name, at, at))
	}
	root, err := os.OpenRoot(d.dir)
	d.must(err)
	defer root.Close()
	_, err = NewDropDir(d.dir, d.accept, nil, zap.NewNop()).scan(t.Context(), root)
	d.must(err)
	if list, _ := os.ReadDir(d.dir); len(list) != maxAnswers || d.there("0003"+refused) || d.there("1003"+refused) || !d.there("1002"+accepted) {
		t.Errorf("%d answers are left", len(list))
	}
}
