package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ringside/ringside/lab"
	"github.com/ringside/ringside/test/ringside"
)

func TestMain(m *testing.M) { ringside.Main(m) }

// atOnce is how many laboratories there are at the same time: each has an application, a network and a recorder.
const atOnce = 2

// few is what runs unless RINGSIDE_PROOFS=1 asks for everything: a loss by the kernel and one by a program, and what looks
// like either.
var few = []string{"address-bounce", "conntrack-flush", "nat-rules-lost", "server-restart", "path-outage", "quiet"}

// seed is the same each time, so that a run that fails does so again; RINGSIDE_SEED=random draws one for each scenario.
func seed() uint64 {
	if os.Getenv("RINGSIDE_SEED") == "random" {
		return rand.Uint64N(1e6) + 1
	}
	return 1
}

// TestScenarios runs a few scenarios, and with RINGSIDE_PROOFS=1 each in all its variants. What must be seen must be seen,
// and the machine must be as it was.
func TestScenarios(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	binary := ringside.Binary(t, "")
	before := machine(t)
	t.Run("all", func(t *testing.T) {
		room := make(chan struct{}, atOnce)
		for _, s := range lab.Scenarios() {
			if !slices.Contains(few, s.Name) && os.Getenv("RINGSIDE_PROOFS") == "" {
				continue
			}
			for i, v := range append(s.Variants, lab.Variant{})[:max(1, len(s.Variants))] {
				if i > 0 && os.Getenv("RINGSIDE_PROOFS") == "" {
					break
				}
				t.Run(strings.Trim(s.Name+"/"+v.Name, "/"), func(t *testing.T) {
					t.Parallel()
					room <- struct{}{}
					defer func() { <-room }()
					run(t, binary, s.Name, v.Name)
				})
			}
		}
	})
	after := machine(t)
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("the machine had %s", line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			t.Errorf("the machine has %s", line)
		}
	}
}

func run(t *testing.T, binary, scenario, variant string) {
	seed := seed()
	r, err := lab.Run(t.Context(), lab.Options{
		Scenario: scenario, Variant: variant, Seed: seed,
		Daemon: func(ctx context.Context, config string) *exec.Cmd {
			return exec.CommandContext(ctx, binary, "run", "-c", config)
		},
	})
	var not *lab.Skipped
	if errors.As(err, &not) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	var b strings.Builder
	if err := lab.WriteReport(&b, r, false); err != nil {
		t.Fatal(err)
	}
	if !r.Passed {
		t.Errorf("seed %d:\n%s", seed, &b)
	}
}

// machine is what a laboratory must leave as it is: links, addresses, routes and rules of the machine, mounts, and the
// sysctls of its network, each a line.
func machine(t *testing.T) (lines []string) {
	t.Helper()
	add := func(what string, list any, err error) {
		if err != nil {
			t.Fatal(what, err)
		}
		lines = append(lines, what+": "+fmt.Sprint(list))
	}
	links, err := netlink.LinkList()
	for _, l := range links {
		a := l.Attrs()
		add("link", []any{a.Index, a.Name, a.MTU, a.Flags, a.OperState}, err)
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		addrs, err := netlink.AddrList(nil, family)
		for _, a := range addrs {
			add("address", []any{a.IPNet, a.LinkIndex, a.Flags}, err)
		}
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE) // table 0: all
		for _, r := range routes {
			add("route", r, err)
		}
		rules, err := netlink.RuleList(family)
		for _, r := range rules {
			add("rule", r, err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " ringside ") {
			add("mount", line, err)
		}
	}
	return append(lines, sysctls(t)...)
}

// sysctls are those that nobody but an administrator changes.
func sysctls(t *testing.T) (lines []string) {
	t.Helper()
	moves := []string{"nf_conntrack_count", "random", "fib_notify", "hashrnd", "netdev_rss_key"}
	err := filepath.WalkDir("/proc/sys/net", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.Contains(moves, d.Name()) {
			return nil // an interface may vanish
		}
		if value, err := os.ReadFile(path); err == nil {
			lines = append(lines, "sysctl: "+path+" = "+strings.TrimSpace(string(value)))
		}
		return nil
	})
	if err != nil || len(lines) < 100 {
		t.Fatalf("%d sysctls: %v", len(lines), err)
	}
	return lines
}

// TestKill kills the command in the middle of a run. Its recorder and its namespaces go with it.
func TestKill(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	before := machine(t)
	cmd := exec.Command(ringside.Binary(t, ""), "lab", "--scenario", "quiet")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	defer func() {
		if !killed {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}()
	var recorder string
	await(t, "no recorder is running", func() bool { recorder = child(cmd.Process.Pid); return recorder != "" })
	namespace, err := os.Readlink("/proc/" + recorder + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	killed = true
	cmd.Process.Kill()
	cmd.Wait()
	await(t, "the recorder is still running", func() bool { _, err := os.Readlink("/proc/" + recorder + "/ns/net"); return err != nil })
	await(t, namespace+" is still held", func() bool { return !held(namespace) })
	if after := machine(t); !slices.Equal(before, after) {
		t.Errorf("the machine is %v, was %v", after, before)
	}
}

// child is the recorder among the children of a process, "" if there is none.
func child(parent int) string {
	all, _ := filepath.Glob("/proc/[0-9]*/status")
	own, _ := os.Readlink("/proc/self/ns/net")
	for _, path := range all {
		status, _ := os.ReadFile(path)
		if !strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", parent)) {
			continue
		}
		dir := filepath.Dir(path)
		command, _ := os.ReadFile(dir + "/cmdline")
		if n, err := os.Readlink(dir + "/ns/net"); err == nil && n != own && strings.Contains(string(command), "\x00run\x00") {
			return filepath.Base(dir)
		}
	}
	return ""
}

// held says whether any process holds a network namespace.
func held(namespace string) bool {
	for _, pattern := range []string{"/proc/[0-9]*/task/*/ns/net", "/proc/[0-9]*/fd/*"} {
		paths, _ := filepath.Glob(pattern)
		for _, p := range paths {
			if to, err := os.Readlink(p); err == nil && to == namespace {
				return true
			}
		}
	}
	return false
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatal("after a minute ", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
