package upload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// found is a file of a directory store.
type found struct {
	name string // path below the store, with the file's own name
	info fs.FileInfo
}

// walk yields the regular files whose paths may begin with prefix, by path as a string of bytes. Symbolic links are not
// followed. What vanishes meanwhile was never there.
func (d *dirStore) walk(ctx context.Context, prefix string) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		root, err := d.root()
		if err != nil {
			yield(found{}, err)
			return
		}
		defer root.Close()
		walkFolder(ctx, root, "", prefix, yield)
	}
}

// walkFolder does so in the folder, which is "" or ends with a slash. It returns false when it is not to go on.
func walkFolder(ctx context.Context, root *os.Root, folder, prefix string, yield func(found, error) bool) bool {
	names, err := readFolder(root, folder)
	if err = errors.Join(err, ctx.Err()); err != nil {
		yield(found{}, dirError("list", folder, err))
		return false
	}
	for _, name := range names { // folders end with a slash, and are sorted so
		p := folder + name
		if !strings.HasPrefix(p, prefix) && !(strings.HasSuffix(p, "/") && strings.HasPrefix(prefix, p)) {
			continue
		}
		if strings.HasSuffix(p, "/") {
			if !walkFolder(ctx, root, p, prefix, yield) {
				return false
			}
			continue
		}
		info, err := root.Lstat(p)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if !yield(found{p, info}, nil) {
			return false
		}
	}
	return true
}

// readFolder returns the files and folders in a folder, the latter with a slash.
func readFolder(root *os.Root, folder string) ([]string, error) {
	f, err := root.OpenFile(path.Clean("./"+folder), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		switch {
		case e.IsDir():
			names = append(names, e.Name()+"/")
		case e.Type().IsRegular():
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// List implements Store.
func (d *dirStore) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for f, err := range d.walk(ctx, prefix) {
			if err != nil {
				yield(Object{}, err)
				return
			}
			if _, temp := tempKey(path.Base(f.name)); temp {
				continue
			}
			if !yield(Object{Key: f.name, Size: f.info.Size(), Modified: f.info.ModTime()}, nil) {
				return
			}
		}
	}
}

// Folders implements Store.
func (d *dirStore) Folders(ctx context.Context, prefix string) ([]string, error) {
	root, err := d.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	names, err := readFolder(root, prefix)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, dirError("list", prefix, err)
	}
	var folders []string
	for _, name := range names {
		if !strings.HasSuffix(name, "/") {
			continue
		}
		for _, err := range d.List(ctx, prefix+name) {
			if err != nil {
				return nil, err
			}
			folders = append(folders, strings.TrimSuffix(name, "/"))
			break
		}
	}
	slices.Sort(folders) // without the slash "a" comes before "a-b"
	return folders, nil
}

// Unfinished implements Store. The ID is the temporary file's name.
func (d *dirStore) Unfinished(ctx context.Context, prefix string) iter.Seq2[Unfinished, error] {
	return func(yield func(Unfinished, error) bool) {
		// The temporary name begins otherwise than the key: look at all of the folder.
		folder := prefix[:strings.LastIndexByte(prefix, '/')+1]
		for f, err := range d.walk(ctx, folder) {
			if err != nil {
				yield(Unfinished{}, err)
				return
			}
			name, temp := tempKey(path.Base(f.name))
			key := path.Join(path.Dir(f.name), name)
			if !temp || !strings.HasPrefix(key, prefix) {
				continue
			}
			if !yield(Unfinished{Key: key, ID: path.Base(f.name), Begun: f.info.ModTime()}, nil) {
				return
			}
		}
	}
}

const cureFull = "remove incidents that are no longer needed (ringside incidents rm), or raise upload.max_bytes"

// usage keeps a directory store below its limit: what is stored is counted at the first write and summed up from then
// on. Whatever others removed is found when it seems full.
type usage struct {
	dir string
	max int64 // 0: the default

	mu    sync.Mutex
	known bool
	bytes int64
}

const defaultMaxBytes = 10 << 30

// limit is called with mu held.
func (u *usage) limit() (int64, error) {
	if u.max > 0 {
		return u.max, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(u.dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", u.dir, err)
	}
	u.max = max(1, min(defaultMaxBytes, int64(st.Blocks)*st.Bsize/10))
	return u.max, nil
}

// add counts n bytes that are about to be written, or returns ErrFull if they would pass the limit.
func (u *usage) add(n int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	limit, err := u.limit()
	if err != nil {
		return err
	}
	if !u.known || u.bytes+n > limit {
		if u.bytes, err = diskUsage(u.dir); err != nil {
			return err
		}
		u.known = true
	}
	if u.bytes+n > limit {
		return fmt.Errorf("%w: it holds %d bytes of %d, and %d more do not fit: %s", ErrFull, u.bytes, limit, n, cureFull)
	}
	u.bytes += n
	return nil
}

// drop counts n bytes that are gone.
func (u *usage) drop(n int64) {
	u.mu.Lock()
	u.bytes -= n
	u.mu.Unlock()
}

func diskUsage(dir string) (sum int64, err error) {
	for f, err := range openDir(dir, 0).walk(context.Background(), "") {
		if err != nil {
			return 0, err
		}
		sum += f.info.Size()
	}
	return sum, nil
}
