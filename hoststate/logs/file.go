package logs

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// errKind is the error of a path that is no regular file: reading it might wait, or take from who it is meant for.
var errKind = errors.New("not a regular file")

// info is what a file is at a moment.
type info struct {
	id   string // device, inode and birth: no two files have the same
	born int64  // ns; 0 if the file system does not say
	size int64
	when int64 // of the last change, ns
}

// open opens a file of the host. It never waits. Its error is errKind if the path is something else.
func open(root, path string) (*os.File, info, error) {
	f, err := openPath(root, path, unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, info{}, err
	}
	i, err := stat(f)
	if err != nil {
		f.Close()
		return nil, info{}, err
	}
	return f, i, nil
}

// openPath opens a path of the host to be read. Links are followed as the host would: an absolute one begins at root.
func openPath(root, path string, flags int) (*os.File, error) {
	flags |= unix.O_RDONLY | unix.O_CLOEXEC
	name := filepath.Join(root, path)
	fd, err := openIn(root, path, flags)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // Linux < 5.6, or a seccomp profile older than that
		fd, err = unix.Open(name, flags, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openIn(root, path string, flags int) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range 10 { // a rename elsewhere in the tree makes it try again
		fd, err := unix.Openat2(dir, path, &how)
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// stat says what f is now, or errKind.
func stat(f *os.File) (info, error) {
	var s unix.Statx_t
	const want = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, want, &s); err != nil {
		return info{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	if s.Mode&unix.S_IFMT != unix.S_IFREG {
		return info{}, fmt.Errorf("%s: %w", f.Name(), errKind)
	}
	i := info{size: int64(s.Size), when: s.Mtime.Sec*1e9 + int64(s.Mtime.Nsec)}
	if s.Mask&unix.STATX_BTIME != 0 {
		i.born = s.Btime.Sec*1e9 + int64(s.Btime.Nsec)
	}
	i.id = fmt.Sprintf("%x:%x:%d:%x", s.Dev_major, s.Dev_minor, s.Ino, i.born)
	return i, nil
}

// print tells a file from others: its head, and the bytes before a place. A file that has another print at the same place is
// not the one that was read, whatever its name and inode. It is made of what was read, not of what the file has by then.
type print struct {
	at         int64
	head, tail []byte
	known      uint64 // its sum, where no more is known: of a place that was kept
}

const maxHead, maxTail = 1024, 256

// printOf takes the print of what a file has before at.
func printOf(f io.ReaderAt, at int64) (print, error) {
	p := print{at: at, head: make([]byte, min(at, maxHead)), tail: make([]byte, min(at, maxTail))}
	for _, part := range []struct {
		to   []byte
		from int64
	}{{p.head, 0}, {p.tail, at - int64(len(p.tail))}} {
		if n, err := f.ReadAt(part.to, part.from); n < len(part.to) {
			return print{}, fmt.Errorf("%w: the file is shorter than it was", err)
		}
	}
	return p, nil
}

// add takes what was read next.
func (p *print) add(b []byte) {
	p.at += int64(len(b))
	p.head = append(p.head, b[:min(len(b), maxHead-len(p.head))]...)
	p.tail = append(p.tail, b[max(0, len(b)-maxTail):]...)
	p.tail = append(p.tail[:0], p.tail[max(0, len(p.tail)-maxTail):]...)
}

// in says whether a file has the print.
func (p *print) in(f io.ReaderAt) bool {
	q, err := printOf(f, p.at)
	return err == nil && p.sum() == q.sum()
}

func (p *print) sum() uint64 {
	if p.known != 0 {
		return p.known
	}
	h := fnv.New64a()
	h.Write(p.head)
	h.Write(p.tail)
	return h.Sum64()
}

// siblings are the files beside path that may hold what path held before a rotation: path.1, path-20260101. At most 100.
func siblings(root, path string) []string {
	dir, base := filepath.Split(path)
	d, err := openPath(root, dir, unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer d.Close()
	var found []string
	for len(found) < 100 {
		names, err := d.Readdirnames(256)
		for _, name := range names {
			if name != base && strings.HasPrefix(name, base) {
				found = append(found, filepath.Join(dir, name))
			}
		}
		if err != nil {
			break
		}
	}
	return found
}

// rotation is how a rotated file's name goes on after that of the log: .1, -20260101, .old.
var rotation = regexp.MustCompile(`^[._-](\d|old|prev|save)`)

// compressed says whether a sibling was compressed, so that it cannot be read on from a place.
func compressed(path string) bool {
	switch filepath.Ext(path) {
	case ".gz", ".xz", ".bz2", ".zst", ".lz4":
		return true
	}
	return false
}
