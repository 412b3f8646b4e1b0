package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/lab/dhcp"
	"github.com/ringside/ringside/lab/host"
)

// Networkd is the machine's systemd-networkd, run in the node to get the first uplink's address by DHCP. It sees neither
// the machine's D-Bus nor its configuration.
type Networkd struct {
	node *host.Host
	path string
	cmd  *exec.Cmd
	log  logBuffer
}

// networkdPaths is where distributions have it.
var networkdPaths = []string{"/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd"}

func findNetworkd() (string, error) {
	for _, path := range networkdPaths {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New("systemd-networkd is not installed")
}

// lease starts the DHCP server outside and networkd in the node, and waits for the uplink's address.
func (l *Lab) lease(ctx context.Context) error {
	u := l.Uplinks[0]
	server, err := dhcp.Serve(l.Router, u.Port, dhcp.Lease{Addr: u.Addr, Gateway: u.Gateway, Time: time.Hour})
	if err != nil {
		return err
	}
	l.onClose(func() error { server.Stop(); return nil })
	path, err := findNetworkd()
	if err != nil {
		return err
	}
	l.Networkd = &Networkd{node: l.Node, path: path}
	if err := l.Node.Do(func() error { return sealNetworkd(u.Link, l.Setup.DHCP) }); err != nil {
		return fmt.Errorf("prepare systemd-networkd: %w", err)
	}
	if err := l.Networkd.Start(); err != nil {
		return err
	}
	l.onClose(l.Networkd.Stop)
	return l.AwaitLease(ctx)
}

// sealNetworkd keeps networkd from what is the machine's. A read-only /sys tells it that there is no udev to wait for.
func sealNetworkd(link, more string) error {
	if err := unix.Mount("", "/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/etc/systemd/network", "/var/lib/systemd/network"} {
		err := unix.Mount("ringside", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m,mode=755")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	const dir = "/run/systemd/network"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("[Match]\nName=%s\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n%s\n"+
		"[DHCPv4]\nClientIdentifier=mac\nUseDNS=no\nUseNTP=no\nUseHostname=no\nUseTimezone=no\n", link, more)
	return os.WriteFile(filepath.Join(dir, "10-uplink.network"), []byte(text), 0o644)
}

// Start starts it.
func (n *Networkd) Start() error {
	n.cmd = exec.Command(n.path)
	n.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_LOG_TARGET=console", "SYSTEMD_LOG_LEVEL=info"}
	n.cmd.Stdout, n.cmd.Stderr = &n.log, &n.log
	if err := n.node.Start(n.cmd); err != nil {
		return fmt.Errorf("start systemd-networkd: %w", err)
	}
	return nil
}

// Stop ends it as its service manager does, and waits until it is gone. A second call does nothing.
func (n *Networkd) Stop() error {
	if n.cmd == nil {
		return nil
	}
	kill := time.AfterFunc(patience, func() { n.cmd.Process.Kill() })
	defer kill.Stop()
	_ = n.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	_ = n.cmd.Wait()                          // how it ends is of no interest
	n.cmd = nil
	return nil
}

// AwaitLease waits until the first uplink has its address and the way out.
func (l *Lab) AwaitLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		ok, err := l.hasLease()
		if err != nil || ok {
			return err
		}
		if err := l.Wait(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("systemd-networkd got no address within %v: %w\n%s", patience, err, l.Networkd.log.tail())
		}
	}
}

func (l *Lab) hasLease() (bool, error) {
	h, family := l.Node.Netlink(), unix.AF_INET
	link, err := h.LinkByName(l.Uplinks[0].Link)
	if err != nil {
		return false, err
	}
	addrs, err := h.AddrList(link, family)
	if err != nil {
		return false, err
	}
	routes, err := h.RouteList(link, family)
	if err != nil {
		return false, err
	}
	address, way := false, false
	for _, a := range addrs {
		address = address || strings.HasPrefix(a.IPNet.String(), l.Uplinks[0].Addr.Addr().String()+"/")
	}
	for _, r := range routes {
		way = way || r.Gw != nil
	}
	return address && way, nil
}
