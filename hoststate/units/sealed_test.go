package units

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The real systemd, as the first process of namespaces of its own: a file system of its own, in which only /usr is the
// machine's, read-only; units of its own; no generators; a control group of its own below one that is removed afterwards. It reaches
// neither the machine's network, sysctls (it has none of the units that set them) nor kernel log.

const stageEnv = "RINGSIDE_SEALED"

func TestMain(m *testing.M) {
	switch stage, arg, _ := strings.Cut(os.Getenv(stageEnv), " "); stage {
	case "enter":
		fmt.Fprintln(os.Stderr, "enter:", enter(arg))
		os.Exit(1)
	case "boot":
		fmt.Fprintln(os.Stderr, "boot:", boot(arg))
		os.Exit(1)
	case "sweep":
		if err := sweep(arg); err != nil {
			fmt.Fprintln(os.Stderr, "sweep:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// stage is this test binary in another role.
func stage(role, dir string) *exec.Cmd {
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), stageEnv+"="+role+" "+dir)
	return c
}

// sealed is a running systemd.
type sealed struct {
	*testing.T
	root string // its file system, for Config.Root
}

// startSystemd boots one, which is killed when the test ends. files are put below its root.
func startSystemd(t *testing.T, files map[string]string) *sealed {
	t.Helper()
	for _, need := range []string{"/lib/systemd/systemd", "/usr/bin/dbus-daemon"} {
		if _, err := os.Stat(need); err != nil {
			t.Skipf("%s is not installed: install systemd and dbus", need)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("this needs CAP_SYS_ADMIN for namespaces")
	}
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, "files", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	c := stage("enter", dir)
	var log bytes.Buffer
	c.Stdout, c.Stderr = &log, &log
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Skipf("no mount namespace: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	stop := func() {
		c.Process.Kill()
		<-ended
		if out, err := sweepCommand(dir).CombinedOutput(); err != nil {
			t.Errorf("the control group is left behind: %v: %s", err, out)
		}
	}
	s := &sealed{T: t}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		pid, _ := os.ReadFile(filepath.Join(dir, "pid"))
		s.root = fmt.Sprintf("/proc/%s/root", bytes.TrimSpace(pid))
		if len(pid) > 0 && exists(s.root+"/run/ready") {
			break
		}
		select {
		case err := <-ended:
			ended <- err
			stop()
			if bytes.Contains(log.Bytes(), []byte("not permitted")) || bytes.Contains(log.Bytes(), []byte("read-only")) {
				t.Skipf("no systemd in namespaces here, which needs CAP_SYS_ADMIN and a writable cgroup2: %s", log.Bytes())
			}
			t.Fatalf("systemd ended: %v\n%s", err, log.Bytes())
		default:
		}
		if time.Now().After(end) {
			stop()
			t.Fatalf("systemd is not up after 30 s:\n%s", log.Bytes())
		}
	}
	t.Cleanup(stop)
	return s
}

func sweepCommand(dir string) *exec.Cmd {
	c := stage("sweep", dir)
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return c
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// mountGroups mounts the control groups where only this process sees them, and returns the one of dir.
func mountGroups(dir string) (string, error) {
	at := filepath.Join(dir, "cgroup")
	err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), os.MkdirAll(at, 0o755), unix.Mount("cgroup2", at, "cgroup2", 0, ""))
	return filepath.Join(at, "ringside-test-"+strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-")), err
}

// enter moves into a control group and starts systemd's namespaces, in a mount namespace already. When it is killed, so is
// systemd, and all that systemd has started.
func enter(dir string) error {
	group, err := mountGroups(dir)
	if err == nil {
		err = errors.Join(os.Mkdir(group, 0o755), os.WriteFile(group+"/cgroup.procs", []byte("0"), 0))
	}
	if err != nil {
		return err
	}
	c := stage("boot", dir)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWCGROUP}
	if err := c.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(fmt.Sprint(c.Process.Pid)), 0o644); err != nil {
		return err
	}
	return c.Wait()
}

// sweep removes the control groups.
func sweep(dir string) error {
	group, err := mountGroups(dir)
	if err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); exists(group); time.Sleep(10 * time.Millisecond) {
		os.WriteFile(group+"/cgroup.kill", []byte("1"), 0)
		var all []string
		filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		for i := len(all) - 1; i >= 0; i-- {
			err = os.Remove(all[i])
		}
		if time.Now().After(end) {
			return err
		}
	}
	return nil
}

// boot makes the file system and becomes systemd.
func boot(dir string) error {
	root := filepath.Join(dir, "root")
	mount := func(what, where, kind string, flags uintptr, options string) error {
		where = filepath.Join(root, where)
		err := errors.Join(os.MkdirAll(where, 0o755), unix.Mount(what, where, kind, flags, options))
		if err != nil {
			return fmt.Errorf("mount %s: %w", where, err)
		}
		return nil
	}
	err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		mount("tmpfs", "/", "tmpfs", 0, "mode=755"),
		mount("/usr", "/usr", "", unix.MS_BIND|unix.MS_REC, ""),
		unix.Mount("", root+"/usr", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""),
		mount("proc", "/proc", "proc", 0, ""),
		mount("sysfs", "/sys", "sysfs", unix.MS_RDONLY, ""),
		unix.Mount("cgroup2", root+"/sys/fs/cgroup", "cgroup2", 0, ""),
		mount("tmpfs", "/dev", "tmpfs", 0, "mode=755"),
		mount("tmpfs", "/run", "tmpfs", 0, "mode=755"),
	)
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		err = errors.Join(err, os.Symlink("usr/"+link, filepath.Join(root, link)))
	}
	for i, device := range []string{"null", "zero", "full", "random", "urandom"} {
		minor := []uint32{3, 5, 7, 8, 9}[i]
		err = errors.Join(err, unix.Mknod(filepath.Join(root, "dev", device), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))))
	}
	for _, d := range []string{"etc", "var/log/journal", "tmp", "root", "dev/shm", "run/lock", "run/dbus"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\n", "etc/group": "root:x:0:\nmessagebus:x:100:\nsystemd-journal:x:101:\nadm:x:4:\n",
		"etc/machine-id": "00112233445566778899aabbccddeeff\n", "etc/os-release": "ID=sealed\n",
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(root, name), []byte(text), 0o444))
	}
	err = errors.Join(err, os.CopyFS(root, os.DirFS(filepath.Join(dir, "files"))))
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Chdir(root), unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH), unix.Chdir("/")); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	return unix.Exec("/lib/systemd/systemd", []string{"systemd", "--unit=default.target", "--log-target=console", "--show-status=no"},
		[]string{"PATH=/usr/sbin:/usr/bin", "container=ringside-test", "SYSTEMD_UNIT_PATH=/units", "SYSTEMD_GENERATOR_PATH=/none"})
}

// sealedUnits is what every sealed systemd has: a system bus, and a mark that all is up.
var sealedUnits = map[string]string{
	"units/default.target": "[Unit]\nDefaultDependencies=no\nRequires=ready.service\n",
	"units/dbus.socket":    "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/dbus/system_bus_socket\n",
	"units/dbus.service": `[Unit]
DefaultDependencies=no
Requires=dbus.socket
[Service]
Type=notify
ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation
`,
	"units/ready.service": `[Unit]
DefaultDependencies=no
Requires=dbus.service
After=dbus.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'busctl status org.freedesktop.systemd1 && touch /run/ready'
`,
}

// sleeper is a service that works until it is stopped.
func sleeper(more string) string {
	return "[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n" + more
}

// systemctl asks the sealed systemd as its root would.
func (s *sealed) systemctl(args ...string) string {
	s.Helper()
	return s.inside(append([]string{"systemctl"}, args...)...)
}

// kill ends a process by its number inside.
func (s *sealed) kill(pid int) {
	s.Helper()
	s.inside("kill", "-KILL", fmt.Sprint(pid))
}

func (s *sealed) inside(command ...string) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	pid := strings.Split(s.root, "/")[2]
	out, err := exec.CommandContext(ctx, "nsenter", append([]string{"-t", pid, "-m", "-p", "-n", "-C"}, command...)...).CombinedOutput()
	if err != nil {
		s.Fatalf("%v: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}
