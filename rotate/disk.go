package rotate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/failpoint"
	"github.com/ringside/ringside/pcapng"
)

// file is what the writer needs of a segment's file. One goroutine uses it at a time.
type file interface {
	// WriteAt writes whole pages at a page offset. On a short write it returns the bytes written and an error.
	WriteAt(b []byte, off int64) (int, error)
	Allocate(off, n int64) error // disk space without changing the size; failing is no harm
	Truncate(size int64) error
	Sync() error
	Close() error
}

// disk is every way in which the spool changes its directory while recording, so that tests can make each fail.
type disk interface {
	Create(path string) (file, error)
	// Publish makes path hold data, whole or not at all, durably once SyncDir has been called.
	Publish(path string, data []byte) error
	Rename(from, to string) error
	Remove(path string) error
	Link(from, to string) error
	SyncDir(dir string) error
	Space(dir string) (free, total int64, err error) // in bytes; free for this user
}

// osDisk is the real one. direct may be turned off while it is used.
type osDisk struct{ direct *atomic.Bool }

func (d osDisk) Create(path string) (file, error) {
	flags := os.O_RDWR | os.O_CREATE | os.O_EXCL
	direct := d.direct.Load()
	if direct {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(path, flags, 0o640)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f, direct: direct}, nil
}

func (d osDisk) Publish(path string, data []byte) error {
	temp := path + suffixTemp
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	err = errors.Join(err, f.Close())
	failpoint.Stage("index-temp")
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp) // it is removed at the next start otherwise
	}
	return err
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) Remove(path string) error     { return os.Remove(path) }
func (osDisk) Link(from, to string) error   { return os.Link(from, to) }

func (osDisk) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (osDisk) Space(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// osFile writes with O_DIRECT, or, where that is not to be had, through the page cache, which it empties behind itself.
type osFile struct {
	*os.File
	direct   bool
	flushing int64 // offset from which the page cache may still hold pages
}

func (f *osFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(b, off)
	if err == nil && !f.direct {
		f.flush(off, int64(n))
	}
	return n, err
}

// flush starts writing [off, off+n) to the disk, waits for what came before it and drops that from the page cache.
func (f *osFile) flush(off, n int64) {
	fd := int(f.Fd())
	_ = unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE)
	if f.flushing < off {
		_ = unix.SyncFileRange(fd, f.flushing, off-f.flushing,
			unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		_ = unix.Fadvise(fd, f.flushing, off-f.flushing, unix.FADV_DONTNEED)
		f.flushing = off
	}
}

func (f *osFile) Allocate(off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func (f *osFile) Sync() error { return unix.Fdatasync(int(f.Fd())) }

func (f *osFile) Close() error {
	if !f.direct {
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	return f.File.Close()
}

const (
	magicTmpfs = 0x01021994
	magicExt   = 0xEF53
	magicXFS   = 0x58465342
)

// probe says whether files in dir can be written with O_DIRECT, and if not why. It makes and removes a file, so it
// also proves that dir is writable. tmpfs accepts O_DIRECT and caches everything, so a refusal is not waited for: statx
// is asked (STATX_DIOALIGN, Linux 6.1), and before that only ext4 and XFS are trusted.
func probe(dir string) (direct bool, why string, err error) {
	path := filepath.Join(dir, "probe"+suffixTemp)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return false, "", err
	}
	defer os.Remove(path)
	defer f.Close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return false, "", err
	}
	if fs.Type == magicTmpfs {
		return false, "it is a tmpfs: the spool takes memory, not disk", nil
	}
	var stx unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &stx); err == nil && stx.Mask&unix.STATX_DIOALIGN != 0 {
		switch {
		case stx.Dio_offset_align == 0 || stx.Dio_mem_align == 0:
			return false, "its file system has no direct I/O", nil
		case stx.Dio_offset_align > pcapng.PageSize || stx.Dio_mem_align > pcapng.PageSize:
			return false, fmt.Sprintf("its file system aligns direct I/O to %d bytes", stx.Dio_offset_align), nil
		}
		return true, "", nil
	}
	if fs.Type != magicExt && fs.Type != magicXFS {
		return false, fmt.Sprintf("neither this kernel nor file system type %#x says that it has direct I/O", fs.Type), nil
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, unix.O_DIRECT); err != nil {
		return false, "its file system refused direct I/O", nil
	}
	return true, "", nil
}
