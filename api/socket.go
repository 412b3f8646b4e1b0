package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// socketMode lets the socket's owner and group in.
const socketMode = 0o660

// listenUnix listens on a socket at path and creates the directories above it. The socket file of a dead process is
// replaced; one that a process answers on, or a file that is no socket, is an error.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("directory for the socket: %w: set socket to a path that can be created", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	before := unix.Umask(^socketMode & 0o777) // nobody else gets in between bind and chmod
	l, err := net.Listen("unix", path)
	unix.Umask(before)
	if err != nil {
		return nil, fmt.Errorf("socket: %w: set socket to a path in a directory that is writable", err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		l.Close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	return l, nil
}

// removeStale removes the socket file of a process that is gone. Nobody answers on it: connecting is refused.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("socket: %s is there and is no socket: remove it, or set socket to another path", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("socket: another process listens on %s: stop it, or set socket and rotate.dir to other paths for a second recorder", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("socket of a dead process: %w", err)
	}
	return nil
}

type peerKey struct{}

// withPeer notes in ctx who is at the other end of a Unix socket, for the log of who fetched packets.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || cred == nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, *cred)
}

// peer says who sent the request: "uid 0, pid 4711", or "unknown".
func peer(ctx context.Context) string {
	if cred, ok := ctx.Value(peerKey{}).(unix.Ucred); ok {
		return fmt.Sprintf("uid %d, pid %d", cred.Uid, cred.Pid)
	}
	return "unknown"
}
