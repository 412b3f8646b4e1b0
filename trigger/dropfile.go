package trigger

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	accepted   = ".accepted"        // what the names of answers end in
	refused    = ".refused"         //
	tempName   = ".ringside-answer" // of an answer that is being written
	maxName    = 200                // bytes, so that the answer has a name too
	maxAnswers = 1000               // that are kept
	keepAnswer = 24 * time.Hour     //
)

// dropped is one file of the drop directory.
type dropped struct {
	name string
	info fs.FileInfo
	stat *syscall.Stat_t
	at   time.Time // when it came to be there, as it is
}

func newDropped(info fs.FileInfo) *dropped {
	stat := info.Sys().(*syscall.Stat_t) // what Linux has
	return &dropped{name: info.Name(), info: info, stat: stat, at: time.Unix(stat.Ctim.Unix())}
}

// id follows from which file this is and when it came to be here.
func (d *dropped) id() string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s\x00%d\x00%d", d.name, d.stat.Ino, d.at.UnixNano())
	return d.at.UTC().Format(idTime) + "-" + hex.EncodeToString(h.Sum(nil))
}

// request reads what the file asks for. The error is a *Refusal, with which the request may have a reason, a notYet or one
// of the directory.
func (d *dropped) request(root *os.Root, now time.Time) (r Request, err error) {
	if err := d.check(); err != nil {
		return r, err
	}
	if age := now.Sub(d.at); age >= 0 && age < settle { // negative: the clock was set back
		return r, notYet{wait: settle}
	}
	body, err := d.read(root)
	if err != nil {
		return r, err
	}
	base, isJSON := strings.CutSuffix(d.name, ".json")
	at := earlier(d.at, now)
	switch {
	case len(body) == 0:
		if err = (Request{Reason: base}).Check(at); err == nil {
			r.Reason = base
		}
	case !isJSON:
		err = invalid("the file is not empty: name it %s.json if it is a request, or empty it to trigger with its name as the reason", d.name)
	default:
		r, err = Parse(body, at)
	}
	if err != nil {
		return r, err
	}
	if r.At.IsZero() {
		r.At = at
	}
	if r.ID == "" {
		r.ID = d.id()
	}
	r.Source = SourceFile
	r.Client = fmt.Sprintf("uid %d, file %s", d.stat.Uid, quote(d.name))
	return r, nil
}

// check refuses what must not be opened.
func (d *dropped) check() error {
	switch {
	case len(d.name) > maxName:
		return invalid("the name has %d bytes: use %d or fewer", len(d.name), maxName)
	case !d.info.Mode().IsRegular():
		return invalid("it is no regular file but %s: put a file here", kindOf(d.info.Mode()))
	case d.info.Size() > MaxBody:
		return invalid("the request has %d bytes: write %d or fewer", d.info.Size(), MaxBody)
	}
	return nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// read opens the file without following or waiting, whatever has taken its place since it was looked at.
func (d *dropped) read(root *os.Root) ([]byte, error) {
	f, err := root.OpenFile(d.name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, invalid("it cannot be read: let the user that the recorder runs as read it")
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	if opened, err := f.Stat(); err != nil || !os.SameFile(d.info, opened) || beingWritten(f) {
		return nil, notYet{wait: settle}
	}
	return io.ReadAll(io.LimitReader(f, MaxBody+1))
}

// beingWritten says whether somebody has the file open for writing, which the kernel tells by refusing a read lease. Where
// it grants none at all (files of others without CAP_LEASE, some file systems), the time since the last change must do.
func beingWritten(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK) // closing gives it up too
	}
	return errors.Is(err, unix.EAGAIN)
}

// publish makes name hold text, whole or not at all, and follows no link in doing so.
func publish(root *os.Root, name, text string) error {
	_ = root.Remove(tempName) // of a crash, or somebody's trap
	f, err := root.OpenFile(tempName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(tempName, name)
	}
	return err
}

// isHidden says whether the name is one of a file that is still being made.
func isHidden(name string) bool {
	ext := filepath.Ext(name)
	return name[0] == '.' || name[len(name)-1] == '~' || ext == ".tmp" || ext == ".part"
}

func isAnswer(name string) bool {
	return strings.HasSuffix(name, accepted) || strings.HasSuffix(name, refused)
}

// answers are those that one look has found.
type answers []fs.FileInfo

// clean removes those that are old, and the oldest beyond what is kept.
func (l answers) clean(root *os.Root, now time.Time) {
	slices.SortFunc(l, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for i, a := range l {
		if i >= maxAnswers || now.Sub(a.ModTime()) > keepAnswer {
			_ = root.Remove(a.Name()) // the next look tries again
		}
	}
}
