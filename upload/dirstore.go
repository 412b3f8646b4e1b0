package upload

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dirStore keeps objects as files below a directory. What is written lies beside its place under a temporary name until
// it is whole and on disk. The directory is opened anew by each method, beneath which os.Root holds it: no symbolic link
// leads out, and a disk that is mounted later is found.
type dirStore struct {
	dir   string
	usage usage
}

func openDir(dir string, maxBytes int64) *dirStore {
	dir = filepath.Clean(dir)
	return &dirStore{dir: dir, usage: usage{dir: dir, max: maxBytes}}
}

// String implements Store.
func (d *dirStore) String() string { return "file://" + d.dir }

// root opens the directory to read.
func (d *dirStore) root() (*os.Root, error) {
	root, err := os.OpenRoot(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no directory %s: nothing was stored there yet, "+
			"or it is not the store that is meant", ErrNotFound, d.dir)
	}
	return root, dirError("open", d.dir, err)
}

// Put implements Store.
func (d *dirStore) Put(ctx context.Context, key string, r io.Reader, o PutOptions) error {
	return d.put(ctx, key, o.Size, func(f *os.File) (int64, error) { return d.fill(ctx, f, r) }, (*os.Root).Rename)
}

// PutNew implements Store: a hard link does not replace.
func (d *dirStore) PutNew(ctx context.Context, key string, data []byte, _ PutOptions) error {
	write := func(f *os.File) (int64, error) {
		if err := d.usage.add(int64(len(data))); err != nil {
			return 0, err
		}
		n, err := f.Write(data)
		return int64(len(data)), errors.Join(err, short(n, len(data)))
	}
	return d.put(ctx, key, int64(len(data)), write, func(root *os.Root, temp, key string) error {
		if err := root.Link(temp, key); errors.Is(err, fs.ErrExist) { // whoever made it may not have come further than that
			return cmp.Or(syncFolders(root, path.Dir(key)), err)
		} else if err != nil {
			return err
		}
		return root.Remove(temp)
	})
}

func short(n, want int) error {
	if n < want {
		return io.ErrShortWrite
	}
	return nil
}

// put writes a temporary file and publishes it under key. write returns how much it added to the usage, also with an
// error.
func (d *dirStore) put(ctx context.Context, key string, size int64, write func(*os.File) (int64, error),
	publish func(root *os.Root, temp, key string) error) error {
	if err := cmp.Or(checkKey(key), ctx.Err()); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o750); err != nil {
		return dirError("store", key, err)
	}
	if err := d.usage.add(size); err != nil { // before anything is written, where it cannot fit
		return dirError("store", key, err)
	}
	d.usage.drop(size)
	root, err := d.root()
	if err != nil {
		return err
	}
	defer root.Close()
	f, temp, err := create(root, key)
	if err != nil {
		return dirError("store", key, err)
	}
	added, err := write(f)
	if err == nil {
		err = f.Sync()
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = ctx.Err()
	}
	var replaced int64
	if err == nil {
		if old, e := root.Lstat(key); e == nil {
			replaced = old.Size()
		}
		err = publish(root, temp, key)
	}
	if err != nil {
		_ = root.Remove(temp)
		d.usage.drop(added)
		return dirError("store", key, err)
	}
	d.usage.drop(replaced)
	return dirError("store", key, syncFolders(root, path.Dir(key)))
}

// create makes the folders of key and a temporary file there. A Delete at the same time may take the folders away again.
func create(root *os.Root, key string) (*os.File, string, error) {
	folder, name := path.Split(key)
	temp := folder + "." + name + "." + rand.Text()[:10] + ".tmp"
	for try := 0; ; try++ {
		if err := root.MkdirAll(path.Dir(key), 0o750); err != nil {
			return nil, "", err
		}
		f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
		if err == nil || try == 10 || !errors.Is(err, fs.ErrNotExist) {
			return f, temp, err
		}
	}
}

// syncFolders makes the names in folder and in those above it durable.
func syncFolders(root *os.Root, folder string) error {
	for {
		f, err := root.Open(folder)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		if folder == "." {
			return nil
		}
		folder = path.Dir(folder)
	}
}

const flushEvery = 4 << 20

// fill writes r to f and keeps little of it in the page cache. It returns what it added to the usage.
func (d *dirStore) fill(ctx context.Context, f *os.File, r io.Reader) (written int64, err error) {
	buf := make([]byte, 256<<10)
	fd := int(f.Fd())
	var flushed int64
	for {
		if err := ctx.Err(); err != nil {
			return written, err
		}
		n, readErr := r.Read(buf)
		if err := d.usage.add(int64(n)); err != nil {
			return written, err
		}
		written += int64(n)
		if _, err := f.Write(buf[:n]); err != nil {
			return written, err
		}
		if written-flushed >= flushEvery {
			_ = unix.SyncFileRange(fd, flushed, written-flushed,
				unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
			_ = unix.Fadvise(fd, flushed, written-flushed, unix.FADV_DONTNEED)
			flushed = written
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return written, nil
		case readErr != nil:
			return written, readErr
		}
	}
}

// Get implements Store.
func (d *dirStore) Get(ctx context.Context, key string, offset int64) (io.ReadCloser, Object, error) {
	if err := cmp.Or(checkKey(key), ctx.Err()); err != nil {
		return nil, Object{}, err
	}
	root, err := d.root()
	if err != nil {
		return nil, Object{}, err
	}
	defer root.Close()
	if info, err := root.Lstat(key); err == nil && !info.Mode().IsRegular() { // nor a link to one
		return nil, Object{}, fmt.Errorf("read %s: %w: it is no file", key, ErrNotFound)
	}
	f, err := root.Open(key)
	if err != nil {
		return nil, Object{}, dirError("read", key, err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case offset < 0 || offset > info.Size():
		err = fmt.Errorf("offset %d is outside of its %d bytes", offset, info.Size())
	default:
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, Object{}, dirError("read", key, err)
	}
	return f, Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Delete implements Store. It takes folders that became empty along.
func (d *dirStore) Delete(ctx context.Context, key string) error {
	if err := cmp.Or(checkKey(key), ctx.Err()); err != nil {
		return err
	}
	return d.remove(key)
}

func (d *dirStore) remove(name string) error {
	root, err := d.root()
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Lstat(name)
	if err == nil && info.IsDir() {
		return nil // a folder is no object
	}
	if err == nil {
		err = root.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return dirError("remove", name, err)
	}
	d.usage.drop(info.Size())
	folder := path.Dir(name)
	for folder != "." && root.Remove(folder) == nil { // ends at the first that is not empty
		folder = path.Dir(folder)
	}
	return dirError("remove", name, syncFolders(root, folder))
}

// Link implements Store.
func (d *dirStore) Link(context.Context, string, time.Duration) (string, error) {
	return "", fmt.Errorf("link to an object of %s: %w", d, ErrUnsupported)
}

// Abort implements Store.
func (d *dirStore) Abort(ctx context.Context, u Unfinished) error {
	if err := cmp.Or(checkKey(u.Key), ctx.Err()); err != nil {
		return err
	}
	name, ok := tempKey(u.ID)
	if !ok || path.Join(path.Dir(u.Key), name) != u.Key {
		return fmt.Errorf("%q is no temporary file of %s", u.ID, u.Key)
	}
	return d.remove(path.Join(path.Dir(u.Key), u.ID))
}

// tempKey is the name of the object that a temporary file was to become.
func tempKey(name string) (string, bool) {
	m := tempPattern.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// dirError says what was done to what, and what the errors of files mean for a store.
func dirError(doing, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return fmt.Errorf("%s %s: %w (%w)", doing, what, ErrNotFound, err)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s %s: %w", doing, what, ErrExists)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %s: %w (%w): give the user that runs this access to the store's directory",
			doing, what, ErrDenied, err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%s %s: %w (%w): %s", doing, what, ErrFull, err, cureFull)
	}
	return fmt.Errorf("%s %s: %w", doing, what, err)
}
