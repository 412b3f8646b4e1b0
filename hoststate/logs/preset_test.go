package logs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/ringside/ringside/hoststate"
)

func berlin(t testing.TB) *zone {
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return &zone{loc: loc}
}

func TestStamp(t *testing.T) {
	z := berlin(t)
	at := func(s string) time.Time {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			panic(err)
		}
		return t
	}
	for _, c := range []struct{ line, written, want, rest string }{
		{"2026-11-22 23:33:48 status", "2026-11-22T23:00:00Z", "2026-11-22T22:33:48Z", " status"},
		{"2026-11-22 23:33:48,123 INFO", "2026-11-22T23:00:00Z", "2026-11-22T22:33:48.123Z", " INFO"},
		{"2026-11-22T23:33:48.000123+02:00 x", "2026-11-22T23:00:00Z", "2026-11-22T21:33:48.000123Z", " x"},
		{"2026-11-22T23:33:48Z x", "2026-11-23T00:00:00Z", "2026-11-22T23:33:48Z", " x"},
		{"2026-11-22  23:33:48", "2026-11-22T23:00:00Z", "2026-11-22T22:33:48Z", ""},
		{"Nov  2 23:33:48 host x", "2026-11-02T23:00:00Z", "2026-11-02T22:33:48Z", " host x"},
		{"Dec 31 23:59:58 host x", "2026-12-31T23:00:30Z", "2026-12-31T22:59:58Z", " host x"}, // the new year has begun there
		{"2026-10-25 02:30:00 x", "2026-10-25T00:30:02Z", "2026-10-25T00:30:00Z", " x"},       // comes twice: the first
		{"2026-10-25 02:30:00 x", "2026-10-25T01:30:02Z", "2026-10-25T01:30:00Z", " x"},       // the second
		{"2026-11-22 23:33:48 x", "2026-11-22T22:33:48.4Z", "2026-11-22T22:33:48.4Z", " x"},   // written within that second
		{"2026-11-22 23:33:48 x", "2026-11-22T20:00:00Z", "2026-11-22T20:00:00Z", " x"},       // ahead
		{"2019-11-22 23:33:48 x", "2026-11-22T20:00:00Z", "2026-11-22T20:00:00Z", " x"},       // long ago
	} {
		got, rest, ok := z.stamp(c.line, at(c.written), layouts...)
		if !ok || !got.Equal(at(c.want)) || rest != c.rest {
			t.Errorf("%q written at %s: %v %q %v, want %s", c.line, c.written, got, rest, ok, c.want)
		}
	}
	for _, line := range []string{"", "x", "2026-13-22 23:33:48", " 2026-11-22 23:33:48"} {
		if got, _, ok := z.stamp(line, time.Now(), layouts...); ok {
			t.Errorf("%q: %v", line, got)
		}
	}
}

// parsed is what a parser makes of lines: kind, subject, text, before and after.
func parsed(p parser, text string) (all []string) {
	for _, line := range strings.Split(text, "\n") {
		if e, _, ok := p.parse(line, time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC)); ok {
			s := fmt.Sprintf("%s %s: %s", e.Kind, e.Subject, e.Text)
			if e.Before != "" || e.After != "" {
				s += fmt.Sprintf(" [%s → %s]", e.Before, e.After)
			}
			all = append(all, s)
		}
	}
	return all
}

func TestPresets(t *testing.T) {
	z := berlin(t)
	custom := func(match string, observations bool) parser {
		p := Preset{Name: "app", Observations: observations}
		if match != "" {
			p.Match = regexp.MustCompile(match)
		}
		return p.newParser(z)
	}
	for _, c := range []struct {
		name   string
		parser parser
		log    string
		want   []string
	}{
		{"dpkg", dpkg{zone: z}, `2026-11-22 23:33:50 startup archives unpack
2026-11-22 23:33:50 upgrade libssl3:amd64 3.0.19-1~deb12u2 3.0.22-1~deb12u2
2026-11-22 23:33:50 status half-configured libssl3:amd64 3.0.19-1~deb12u2
2026-11-22 23:33:51 install nftables:amd64 <none> 1.0.6-2+deb12u2
2026-11-22 23:33:51 conffile /etc/nftables.conf install
2026-11-22 23:33:51 configure nftables:amd64 1.0.6-2+deb12u2 <none>
2026-11-22 23:33:51 status installed nftables:amd64 1.0.6-2+deb12u2
2026-11-22 23:33:52 trigproc man-db:amd64 2.11.2-2 <none>
2026-11-22 23:33:52 remove tree:all 2.1.0-1 <none>
2026-11-22 23:33:52 status not-installed tree:all <none>
torn`, []string{
			"package libssl3: dpkg upgrades libssl3 from 3.0.19-1~deb12u2 to 3.0.22-1~deb12u2 [3.0.19-1~deb12u2 → 3.0.22-1~deb12u2]",
			"package nftables: dpkg installs nftables 1.0.6-2+deb12u2 [ → 1.0.6-2+deb12u2]",
			"package nftables: dpkg configures nftables 1.0.6-2+deb12u2 [ → 1.0.6-2+deb12u2]",
			"package nftables: dpkg: nftables is installed [ → installed]",
			"package man-db: dpkg processes the triggers of man-db 2.11.2-2 [ → 2.11.2-2]",
			"package tree: dpkg removes tree 2.1.0-1 [2.1.0-1 → ]",
			"package tree: dpkg: tree is not-installed [ → not-installed]",
		}},
		{"apt", &apt{zone: z}, `
Start-Date: 2026-11-22  23:33:48
Commandline: apt-get install -y nftables
Requested-By: admin (1000)
Install: libnftnl11:amd64 (1.2.4-2, automatic), nftables:amd64 (1.0.6-2+deb12u2)
Upgrade: libssl3:amd64 (3.0.19-1~deb12u2, 3.0.22-1~deb12u2)
Error: Sub-process /usr/bin/dpkg returned an error code (1)
End-Date: 2026-11-22  23:34:01
End-Date: 2026-11-22  23:34:02`, []string{
			"log apt: apt begins: apt-get install -y nftables",
			"log apt: apt is done: install 2: libnftnl11, nftables; upgrade 1: libssl3; error: Sub-process /usr/bin/dpkg returned an error code (1); commandline: apt-get install -y nftables; requested by: admin (1000)",
		}},
		{"unattended-upgrades", &upgrades{zone: z}, `2026-11-22 06:25:01,123 INFO Packages that will be upgraded: libssl3 openssl
2026-11-22 06:25:01,124 DEBUG pkgs that look like they should be upgraded:
2026-11-22 06:25:02,000 ERROR Installing the upgrades failed!
Traceback (most recent call last):`, []string{
			"log unattended-upgrades: unattended-upgrades: Packages that will be upgraded: libssl3 openssl",
			"log unattended-upgrades: unattended-upgrades: Installing the upgrades failed!",
		}},
		{"needrestart", &terminal{zone: z}, "Log started: 2026-11-22  06:25:10\n(Reading database ... 5%\r(Reading database ... 100%\r\nSetting up x (1) ...\r\nRestarting services...\r\n" +
			" systemctl restart systemd-networkd.service ssh.service\nService restarts being deferred:\n /etc/needrestart/restart.d/dbus.service\n" +
			" systemctl restart systemd-logind.service\n\nNo containers need to be restarted.\n systemctl restart not.service.of.it", []string{
			"log needrestart: needrestart restarts services",
			"log needrestart: needrestart restarts systemd-networkd.service ssh.service",
			"log needrestart: needrestart puts off the restart of systemd-logind.service",
			"log needrestart: needrestart restarts not.service.of.it",
		}},
		{"syslog", &syslog{zone: z, reason: reason}, `Nov 22 23:33:48 node1 kernel: [ 1234.567890] nf_conntrack: nf_conntrack: table full, dropping packet
2026-11-22T23:33:48.123456+01:00 node1 kernel: ena 0000:00:05.0: Keep alive watchdog timeout.
Nov 22 23:33:48 node1 kernel: ixgbe 0000:03:00.0 eth0: NIC Link is Down
Nov 22 23:33:48 node1 kernel: usb 1-1: new device
Nov 22 23:33:48 node1 cron[1]: kernel: table full`, []string{
			"kernel.log conntrack: kernel: nf_conntrack: nf_conntrack: table full, dropping packet",
			"kernel.log nic: kernel: ena 0000:00:05.0: Keep alive watchdog timeout.",
			"kernel.log link: kernel: ixgbe 0000:03:00.0 eth0: NIC Link is Down",
		}},
		{"custom", custom("ERROR", false), "2026-11-22T23:33:48Z ERROR a\nINFO b\nERROR c", []string{"log app: app: ERROR a", "log app: app: ERROR c"}},
		{"observations in JSON", custom("", true), `{"time":"2026-11-22T22:33:48.5Z","service":"orders","what":"time-out","duration":"5s","local":"10.1.2.3:41822","peer":"orders-db:5432","trace":"4bf9"}
{"peer":"cache","what":"refused"}
{"service":"orders"}
null
[1]
{"what":17,"peer":{"a":1}}
not JSON`, []string{
			"observation orders: time-out after 5s (10.1.2.3:41822 → orders-db:5432)",
			"observation cache: refused (? → cache)",
			"observation map[a:1]: 17 (? → map[a:1])",
		}},
		{"observations by a pattern", custom(`^(?P<time>\S+ \S+) \[(?P<trace>\w+)\] (?P<what>time-out) of (?P<duration>\S+) on (?P<local>\S+) to (?P<peer>\S+)$`, true),
			"2026-11-22 23:33:48.5 [4bf9] time-out of 5s on 10.1.2.3:41822 to orders-db:5432\nother", []string{
				"observation orders-db:5432: time-out after 5s (10.1.2.3:41822 → orders-db:5432)",
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := parsed(c.parser, c.log)
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
		})
	}
}

func TestKernelReasons(t *testing.T) {
	for line, want := range map[string]string{
		"nf_conntrack: nf_conntrack: table full, dropping packet":                          "conntrack",
		"Out of memory: Killed process 4711 (java) total-vm:1kB":                           "oom",
		"Memory cgroup out of memory: Killed process 4711 (java)":                          "oom",
		"NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out":                       "nic",
		"e1000e 0000:00:1f.6 eth0: Reset adapter unexpectedly":                             "nic",
		"mlx5_core 0000:3b:00.0 ens1f0: Link down":                                         "link",
		"bond0: (slave eth0): link status definitely down, disabling slave":                "link",
		"IPv6: ADDRCONF(NETDEV_CHANGE): eth0: link becomes ready":                          "link",
		"INFO: task kworker/0:1:12 blocked for more than 120 seconds.":                     "stall",
		"watchdog: BUG: soft lockup - CPU#0 stuck for 22s!":                                "stall",
		"TCP: request_sock_TCP: Possible SYN flooding on port 80. Sending cookies.":        "tcp",
		"neighbour: arp_cache: neighbor table overflow!":                                   "neighbour",
		"BUG: kernel NULL pointer dereference, address: 0":                                 "oops",
		"br0: port 1(veth0) entered disabled state":                                        "",
		"usb 1-1: reset high-speed USB device number 2 using xhci_hcd":                     "",
		"audit: type=1400 audit(1.2:3): apparmor=\"STATUS\" operation=\"profile_replace\"": "",
	} {
		if got := reason(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestKnownPresets(t *testing.T) {
	for _, name := range Known() {
		if p, ok := Lookup(name); !ok || p.Name != name || len(p.Paths) == 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if _, ok := Lookup("nothing"); ok {
		t.Error("nothing is a preset")
	}
}

// dpkgHost is a system of dpkg's own, whose log is followed.
type dpkgHost struct{ *host }

// build makes a package.
func (d dpkgHost) build(name, version string) string {
	d.Helper()
	dir := filepath.Join(d.TempDir(), name)
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: a\n", name, version)
	d.do(os.MkdirAll(dir+"/DEBIAN", 0o755))
	d.do(os.WriteFile(dir+"/DEBIAN/control", []byte(control), 0o644))
	if out, err := exec.Command("dpkg-deb", "--build", "--root-owner-group", dir, dir+version+".deb").CombinedOutput(); err != nil {
		d.Fatalf("%v: %s", err, out)
	}
	return dir + version + ".deb"
}

func (d dpkgHost) dpkg(args ...string) {
	d.Helper()
	c := exec.Command("dpkg", append([]string{"--instdir=" + d.path("/"), "--admindir=" + d.path("/var/lib/dpkg"), "--log=" + d.path("/var/log/dpkg.log"),
		"--force-not-root", "--force-script-chrootless"}, args...)...)
	c.Env = append(os.Environ(), "TZ=Europe/Berlin", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := c.CombinedOutput(); err != nil {
		d.Fatalf("dpkg %v: %v: %s", args, err, out)
	}
}

// The real dpkg, in the host's time zone, followed across rotations of both kinds and a restart.
func TestDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg is not installed")
	}
	d := dpkgHost{newHost(t)}
	preset, _ := Lookup("dpkg")
	d.presets = []Preset{preset}
	d.mkdir("/var/lib/dpkg/info")
	d.mkdir("/var/lib/dpkg/updates")
	d.mkdir("/etc")
	d.do(os.WriteFile(d.path("/var/lib/dpkg/status"), nil, 0o644))
	zone, err := os.ReadFile("/usr/share/zoneinfo/Europe/Berlin")
	if err != nil {
		t.Skipf("tzdata is not installed: %v", err)
	}
	d.do(os.WriteFile(d.path("/etc/berlin"), zone, 0o644))
	d.do(os.Symlink("/etc/berlin", d.path("/etc/localtime")))

	a1, a2, b1 := d.build("alpha", "1.0"), d.build("alpha", "2.0"), d.build("beta", "1:1.0-1")
	d.start()
	began := time.Now()
	d.dpkg("-i", a1)
	d.rename("/var/log/dpkg.log", "/var/log/dpkg.log.1") // logrotate's way: dpkg does not hold it open
	d.dpkg("-i", a2, b1)
	d.wait("the upgrade", func() bool { return d.count("package") == 9 })
	d.stop()
	d.do(copyFile(d.path("/var/log/dpkg.log"), d.path("/var/log/dpkg.log.copy")))
	d.do(os.Truncate(d.path("/var/log/dpkg.log"), 0))
	d.dpkg("-r", "beta")
	d.start()
	d.dpkg("--purge", "alpha")

	want := []string{
		"install alpha  → 1.0", "configure alpha  → 1.0", "status alpha  → installed",
		"upgrade alpha 1.0 → 2.0", "install beta  → 1:1.0-1", "configure alpha  → 2.0", "status alpha  → installed", "configure beta  → 1:1.0-1", "status beta  → installed",
		"status beta  → installed", "remove beta 1:1.0-1 → ", "status beta  → not-installed",
		"status alpha  → installed", "remove alpha 2.0 → ", "status alpha  → not-installed",
	}
	d.wait("all", func() bool {
		n := 0
		for _, e := range d.all() {
			if e.Kind == "package" && e.After != "config-files" { // which may come or not
				n++
			}
		}
		return n >= len(want)
	})
	var got []string
	for _, e := range d.all() {
		if e.Kind != "package" {
			t.Errorf("%s: %s", e.Kind, e.Text)
			continue
		}
		if e.Time.Before(began.Add(-2*time.Second)) || e.Time.After(time.Now()) {
			t.Errorf("%s is dated %v", e.Raw, e.Time)
		}
		f := data(t, e)
		action := strings.TrimSpace(fmt.Sprint(f["action"]))
		if action == "status" && e.After == "config-files" {
			continue
		}
		got = append(got, fmt.Sprintf("%s %s %s → %s", action, e.Subject, e.Before, e.After))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func FuzzParsers(f *testing.F) {
	f.Add("2026-11-22 23:33:50 upgrade libssl3:amd64 3.0.19 3.0.22")
	f.Add("2026-11-22 23:33:50 status installed libssl3:amd64 3.0.19\nCommandline: x")
	f.Add("Start-Date: 2026-11-22  23:33:48\nInstall: a:amd64 (1, automatic), b\nEnd-Date: x")
	f.Add("2026-11-22 06:25:01,123 INFO Packages that will be upgraded: a b")
	f.Add("Restarting services...\n systemctl restart a b\nService restarts being deferred:\n systemctl restart")
	f.Add("Nov 22 23:33:48 node1 kernel: [ 1234.5] nf_conntrack: table full")
	f.Add(`{"time":"2026-11-22T22:33:48.5Z","service":"orders","what":1e400,"peer":[]}`)
	z := berlin(f)
	f.Fuzz(func(t *testing.T, text string) {
		patterns := Preset{Name: "x", Match: regexp.MustCompile(`(?P<time>\S+ )?(?P<what>.*)`), Time: "2006-01-02 15:04:05 MST", Observations: true}
		for _, p := range []parser{dpkg{zone: z}, &apt{zone: z}, &upgrades{zone: z}, &terminal{zone: z}, &syslog{zone: z, reason: reason},
			(&Preset{Name: "x"}).newParser(z), (&Preset{Name: "x", Observations: true}).newParser(z), patterns.newParser(z)} {
			for _, line := range strings.Split(text, "\n") {
				e, facts, ok := p.parse(clean([]byte(line)), time.Now())
				if !ok {
					continue
				}
				if e.Kind == "" || e.Text == "" {
					t.Errorf("%T: event without kind or text from %q", p, line)
				}
				if _, err := json.Marshal(facts); err != nil {
					t.Errorf("%T: %v", p, err)
				}
			}
		}
		if r, ok := parseRecord(text); ok {
			kernelEvent(reason, r.text)
		}
	})
}

var _ hoststate.Watcher = (*Kernel)(nil)
var _ hoststate.Watcher = (*Watcher)(nil)
