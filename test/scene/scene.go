package scene

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/ringside/ringside/test/netlab"
	"github.com/ringside/ringside/test/s3server"
)

// Scene is a node, its traffic and its store. Its methods may be called concurrently.
type Scene struct {
	Node *netlab.Namespace
	S3   *s3server.Server // reached on the node by the same URL
	Dir  string           // an empty folder to work in
	Env  []string         // for commands, in addition to what they have

	root    string // of everything that is on the disk
	closers []func() error
}

// Addresses of the uplink.
const (
	nodeAddress  = "10.9.0.1"
	redisAddress = "10.9.0.2"
)

// New sets a scene up below root, which it fills and removes. The caller closes it.
func New(root string) (*Scene, error) {
	s := &Scene{root: root, Dir: filepath.Join(root, "work")}
	for _, step := range []func() error{s.folders, s.network, s.redis, s.bucket} {
		if err := step(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Close ends everything that runs in the scene and removes it.
func (s *Scene) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(append(errs, os.RemoveAll(s.root))...)
}

func (s *Scene) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *Scene) folders() error {
	for _, dir := range []string{s.Dir, s.bin(), s.state(), filepath.Join(s.root, "s3"), filepath.Join(s.root, "etc"), filepath.Join(s.root, "etc.work")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scene) bin() string   { return filepath.Join(s.root, "bin") }
func (s *Scene) state() string { return filepath.Join(s.root, "state") }

// network makes the node and, at the other end of its uplink, the machine of the redis server.
func (s *Scene) network() (err error) {
	if s.Node, err = netlab.New(); err != nil {
		return err
	}
	s.onClose(s.Node.Close)
	peer, err := netlab.New()
	if err != nil {
		return err
	}
	s.onClose(peer.Close)
	err = errors.Join(s.Node.Veth("eth0", peer, "eth0"), s.Node.Address("eth0", nodeAddress+"/24"), peer.Address("eth0", redisAddress+"/24"),
		s.Node.Default("eth0", netip.MustParseAddr(redisAddress)))
	etc := fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s", filepath.Join(s.root, "etc"), filepath.Join(s.root, "etc.work"))
	for _, args := range [][]string{
		{"-t", "tmpfs", "tmpfs", "/run"}, {"--bind", s.state(), "/var/lib"}, {"-t", "overlay", "-o", etc, "overlay", "/etc"},
	} {
		_, mountErr := s.Node.Run("mount", args...)
		err = errors.Join(err, mountErr)
	}
	if err != nil {
		return err
	}
	return s.serve(peer)
}

// serve starts the redis server.
func (s *Scene) serve(peer *netlab.Namespace) error {
	server := exec.Command("redis-server", "--bind", redisAddress, "--protected-mode", "no", "--save", "", "--dir", s.root)
	if err := peer.Start(server); err != nil {
		return fmt.Errorf("start redis-server: %w (apt-get install redis-server)", err)
	}
	s.onClose(func() error { return end(server) })
	return nil
}

// end kills a process and waits for it. How it ends is of no interest.
func end(cmd *exec.Cmd) error {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return nil
}

// redis starts the traffic: forty requests a second on one connection, of which one in forty connects anew.
func (s *Scene) redis() error {
	const loop = `i=0; until redis-cli -h ` + redisAddress + ` ping; do sleep 0.05; done
		while :; do i=$((i + 1)); redis-cli -h ` + redisAddress + ` -r 40 -i 0.025 set "order:$i" paid; done`
	traffic := s.Command(context.Background(), loop)
	if err := s.Node.Start(traffic); err != nil {
		return fmt.Errorf("start traffic: %w", err)
	}
	s.onClose(func() error { return endGroup(traffic) })
	return nil
}

// endGroup kills a process with its children.
func endGroup(cmd *exec.Cmd) error {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	return end(cmd)
}

// Command is a shell script that runs in the scene's folder once Node.Start starts it. Its environment is what a person
// would have set: credentials of the bucket and the server's place, as the AWS tools take them, and what the scene's bin/
// has in PATH. When ctx is done it is killed, with everything it has started.
func (s *Scene) Command(ctx context.Context, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "PATH="+s.bin()+":"+os.Getenv("PATH"), "HOME="+s.root, "NODE_NAME=node-1", "TZ=UTC", "LC_ALL=C.UTF-8")
	if s.S3 != nil {
		cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID="+s.S3.AccessKey, "AWS_SECRET_ACCESS_KEY="+s.S3.SecretKey, "AWS_REGION="+s.S3.Region,
			"AWS_ENDPOINT_URL_S3="+s.S3.URL, "AWS_CA_BUNDLE="+s.S3.CAFile)
	}
	cmd.Env = append(cmd.Env, s.Env...)
	return cmd
}

// Output runs a script and returns what it wrote to both outputs, in the order in which it did. What the script has left
// running in the background is killed.
func (s *Scene) Output(ctx context.Context, script string) (string, error) {
	out, err := os.CreateTemp(s.root, "output") // a pipe would be waited for as long as anything has it open
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd := s.Command(ctx, script)
	cmd.Stdout, cmd.Stderr = out, out
	if err = s.Node.Start(cmd); err == nil {
		err = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // an error means that nothing is left
	}
	text, readErr := os.ReadFile(out.Name())
	return string(text), errors.Join(err, readErr)
}

// Bin is where the scene's own programs are put to be found.
func (s *Scene) Bin(name string) string { return filepath.Join(s.bin(), name) }

// bucket starts the S3 server on the machine's loopback, and lets the node's lead there.
func (s *Scene) bucket() (err error) {
	if s.S3, err = s3server.Open(filepath.Join(s.root, "s3")); err != nil {
		return err
	}
	s.onClose(func() error { s.S3.Stop(); return nil })
	return s.Reach(s.S3.URL)
}

// Reach makes a server on the machine's loopback, such as https://127.0.0.1:1234, reachable on the node by the same URL
// until the scene is closed.
func (s *Scene) Reach(server string) error {
	u, err := url.Parse(server)
	if err != nil {
		return err
	}
	var l net.Listener
	if err := s.Node.Do(func() (err error) { l, err = net.Listen("tcp", u.Host); return err }); err != nil {
		return fmt.Errorf("reach %s from the node: %w", server, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var conns sync.WaitGroup
	conns.Go(func() { relay(ctx, l, u.Host, &conns) })
	s.onClose(func() error {
		cancel()
		err := l.Close()
		conns.Wait()
		return err
	})
	return nil
}

// relay connects whoever connects to l with address, until l is closed; ctx ends the connections.
func relay(ctx context.Context, l net.Listener, address string, conns *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			defer c.Close()
			other, err := net.Dial("tcp", address)
			if err != nil {
				return // as refused as it is
			}
			defer other.Close()
			defer context.AfterFunc(ctx, func() { c.Close(); other.Close() })()
			var back sync.WaitGroup
			back.Go(func() {
				_, _ = io.Copy(c, other) // whatever ends it ends the connection
				c.Close()
			})
			_, _ = io.Copy(other, c)
			other.Close()
			back.Wait()
		})
	}
}
