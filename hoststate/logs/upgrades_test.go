package logs

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// machine is the script of a system of its own, that lies over this machine's: what it installs and logs is in memory only. It has
// no network. It obeys commands on its standard input, and answers each with a line "done".
const machine = `set -eu
D=$1
mount --make-rprivate /
mount -t tmpfs tmpfs $D
mkdir $D/upper $D/work $D/root
mount -t overlay -o lowerdir=/,upperdir=$D/upper,workdir=$D/work overlay $D/root
mount -t proc proc $D/root/proc
mount -t tmpfs tmpfs $D/root/run
mount --rbind /dev $D/root/dev
cat >$D/root/inside.sh <<'INSIDE'
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
rm -rf /etc/apt/sources.list* /etc/apt/preferences.d /var/lib/apt/lists/* /etc/logrotate.d/*
rm -rf /var/log/unattended-upgrades/* /var/log/apt/* /var/log/dpkg.log*
mkdir -p /var/lib/apt/lists/partial /srv/repo /srv/alpha/DEBIAN
cd /srv
build() {
	printf 'Package: ringside-alpha\nVersion: %s\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: a\n' $1 >alpha/DEBIAN/control
	printf '#!/bin/sh\necho "Restarting services..."\necho " systemctl restart systemd-networkd.service"\n' >alpha/DEBIAN/postinst
	chmod 755 alpha/DEBIAN/postinst
	dpkg-deb --build --root-owner-group alpha repo/alpha_$1.deb
}
offer() {
	build $1
	cd repo
	{ dpkg-deb -f alpha_$1.deb; echo "Filename: ./alpha_$1.deb"; echo "Size: $(stat -c %s alpha_$1.deb)"; echo "SHA256: $(sha256sum alpha_$1.deb | cut -d' ' -f1)"; } >Packages
	printf 'Origin: Ringside\nLabel: Ringside\nSuite: test\nCodename: test\nDate: %s\nSHA256:\n %s %s Packages\n' "$(date -Ru)" "$(sha256sum Packages | cut -d' ' -f1)" "$(stat -c %s Packages)" >Release
	cd ..
	apt-get update
}
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list
echo 'APT::Sandbox::User "root"; Unattended-Upgrade::Origins-Pattern { "origin=Ringside"; };' >/etc/apt/apt.conf.d/99test
for log in dpkg apt/history apt/term unattended-upgrades/unattended-upgrades unattended-upgrades/unattended-upgrades-dpkg; do
	delay=
	[ $log != dpkg ] || delay=delaycompress # as Debian has it
	printf '/var/log/%s.log {\n rotate 12\n monthly\n compress\n %s\n missingok\n notifempty\n}\n' $log "$delay" >>/etc/logrotate.d/test
done
chmod 644 /etc/logrotate.d/test
build 1
dpkg -i repo/alpha_1.deb
while read -r what version; do
	case $what in
	upgrade) offer $version; unattended-upgrade -v ;;
	rotate) logrotate -f /etc/logrotate.d/test ;;
	esac >&2
	echo done
done
INSIDE
echo done
exec chroot $D/root bash /inside.sh
`

// The real unattended-upgrades upgrades a package; its logs, apt's and dpkg's are followed across the real logrotate's rotations.
func TestUnattendedUpgrades(t *testing.T) {
	for _, need := range []string{"unattended-upgrade", "logrotate", "dpkg-deb", "bash"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("%s is not installed: install the packages unattended-upgrades and logrotate", need)
		}
	}
	dir := t.TempDir()
	c := exec.Command("bash", "-c", machine, "machine", dir)
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	c.Stderr = &said
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Skipf("no mount namespace, which needs CAP_SYS_ADMIN: %v", err)
	}
	defer func() { in.Close(); c.Wait() }()
	answers := bufio.NewScanner(out)
	done := func(what string) {
		t.Helper()
		for answers.Scan() {
			if answers.Text() == "done" {
				return
			}
		}
		c.Wait()
		if what == "the start" && (strings.Contains(said.String(), "permission denied") || strings.Contains(said.String(), "overlay")) {
			t.Skipf("no overlay file system here: %s", said.String())
		}
		t.Fatalf("%s failed: %s", what, said.String())
	}
	done("the start")
	command := func(what string) {
		t.Helper()
		fmt.Fprintln(in, what)
		done(what)
	}
	command("wait")

	h := &host{T: t, sink: &sink{}, root: fmt.Sprintf("/proc/%d/root", c.Process.Pid), state: t.TempDir()}
	t.Cleanup(func() {
		if h.stop != nil {
			h.stop()
		}
	})
	for _, name := range Known() {
		p, _ := Lookup(name)
		h.presets = append(h.presets, p)
	}
	h.start()

	counts := func() map[string]int {
		n := map[string]int{}
		for _, e := range h.all() {
			n[e.Kind+" "+e.Subject+" "+e.Raw[max(0, len(e.Raw)-30):]]++
		}
		return n
	}
	const rounds = 3
	for round := range rounds {
		command(fmt.Sprint("upgrade ", round+2))
		h.wait("the end of the upgrade", func() bool {
			n := 0
			for _, e := range h.all() {
				if strings.HasPrefix(e.Text, "apt is done") {
					n++
				}
			}
			return n > round
		})
		command("rotate")
		if round == 1 { // what is compressed meanwhile was read
			h.stop()
			h.start()
		}
	}
	// each of these is in the logs once for each upgrade
	want := []string{
		"unattended-upgrades: Packages that will be upgraded: ringside-alpha",
		"unattended-upgrades: All upgrades installed",
		"needrestart restarts systemd-networkd.service",
		"apt begins: /usr/bin/unattended-upgrade -v",
		"dpkg: ringside-alpha is installed",
	}
	for round := range rounds {
		want = append(want, fmt.Sprintf("dpkg upgrades ringside-alpha from %d to %d", round+1, round+2), fmt.Sprintf("dpkg configures ringside-alpha %d", round+2))
	}
	for i, text := range want {
		times := rounds
		if i >= len(want)-2*rounds {
			times = 1
		}
		have := func() (n int) {
			for _, e := range h.all() {
				if e.Text == text {
					n++
				}
			}
			return n
		}
		h.wait(text, func() bool { return have() >= times })
		if n := have(); n != times {
			t.Errorf("%q is told %d times, want %d", text, n, times)
		}
	}
	for _, e := range h.all() {
		if e.Kind == "log.gap" {
			t.Errorf("%s", e.Text)
		}
	}
	t.Logf("%d events: %v", len(h.all()), counts())
}
