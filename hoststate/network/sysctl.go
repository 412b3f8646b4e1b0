package network

import (
	"os"
	"path/filepath"
	"strings"
)

// sysctls decide what becomes of connections. A * stands for all, default and the interfaces that are not quiet.
var sysctls = []string{
	// Which connections the node still knows, and for how long.
	"net.netfilter.nf_conntrack_max",
	"net.netfilter.nf_conntrack_buckets",
	"net.netfilter.nf_conntrack_events",
	"net.netfilter.nf_conntrack_acct",
	"net.netfilter.nf_conntrack_timestamp",
	"net.netfilter.nf_conntrack_checksum",
	"net.netfilter.nf_conntrack_log_invalid",
	"net.netfilter.nf_conntrack_tcp_loose",
	"net.netfilter.nf_conntrack_tcp_be_liberal",
	"net.netfilter.nf_conntrack_tcp_ignore_invalid_rst",
	"net.netfilter.nf_conntrack_tcp_max_retrans",
	"net.netfilter.nf_conntrack_tcp_timeout_close",
	"net.netfilter.nf_conntrack_tcp_timeout_close_wait",
	"net.netfilter.nf_conntrack_tcp_timeout_established",
	"net.netfilter.nf_conntrack_tcp_timeout_fin_wait",
	"net.netfilter.nf_conntrack_tcp_timeout_last_ack",
	"net.netfilter.nf_conntrack_tcp_timeout_max_retrans",
	"net.netfilter.nf_conntrack_tcp_timeout_syn_recv",
	"net.netfilter.nf_conntrack_tcp_timeout_syn_sent",
	"net.netfilter.nf_conntrack_tcp_timeout_time_wait",
	"net.netfilter.nf_conntrack_tcp_timeout_unacknowledged",
	"net.netfilter.nf_conntrack_udp_timeout",
	"net.netfilter.nf_conntrack_udp_timeout_stream",
	"net.netfilter.nf_conntrack_generic_timeout",
	// What is forwarded, and what is taken in.
	"net.ipv4.ip_forward",
	"net.ipv4.fib_multipath_hash_policy",
	"net.ipv4.fwmark_reflect",
	"net.ipv4.icmp_ratelimit",
	"net.ipv4.icmp_msgs_per_sec",
	"net.ipv4.conf.*.forwarding",
	"net.ipv4.conf.*.rp_filter",
	"net.ipv4.conf.*.src_valid_mark",
	"net.ipv4.conf.*.accept_local",
	"net.ipv4.conf.*.route_localnet",
	"net.ipv4.conf.*.promote_secondaries",
	"net.ipv4.conf.*.arp_ignore",
	"net.ipv4.conf.*.arp_announce",
	"net.ipv6.conf.*.forwarding",
	"net.ipv6.conf.*.accept_ra",
	"net.ipv6.conf.*.disable_ipv6",
	"net.bridge.bridge-nf-call-iptables",
	"net.bridge.bridge-nf-call-ip6tables",
	// How hosts and their ends of connections bear loss.
	"net.ipv4.ip_local_port_range",
	"net.ipv4.ip_local_reserved_ports",
	"net.ipv4.ip_no_pmtu_disc",
	"net.ipv4.tcp_mtu_probing",
	"net.ipv4.tcp_syn_retries",
	"net.ipv4.tcp_synack_retries",
	"net.ipv4.tcp_syn_linear_timeouts",
	"net.ipv4.tcp_retries1",
	"net.ipv4.tcp_retries2",
	"net.ipv4.tcp_orphan_retries",
	"net.ipv4.tcp_rto_min_us",
	"net.ipv4.tcp_rto_max_ms",
	"net.ipv4.tcp_frto",
	"net.ipv4.tcp_timestamps",
	"net.ipv4.tcp_sack",
	"net.ipv4.tcp_ecn",
	"net.ipv4.tcp_tw_reuse",
	"net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_max_tw_buckets",
	"net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_keepalive_intvl",
	"net.ipv4.tcp_keepalive_probes",
	"net.ipv4.tcp_syncookies",
	"net.ipv4.tcp_max_syn_backlog",
	"net.ipv4.tcp_abort_on_overflow",
	"net.ipv4.tcp_challenge_ack_limit",
	"net.ipv4.tcp_invalid_ratelimit",
	"net.ipv4.tcp_rfc1337",
	"net.core.somaxconn",
	"net.core.netdev_max_backlog",
	"net.core.rmem_max",
	"net.core.optmem_max",
	// How long neighbours are believed, and how many fit.
	"net.ipv4.neigh.default.gc_thresh1",
	"net.ipv4.neigh.default.gc_thresh2",
	"net.ipv4.neigh.default.gc_thresh3",
	"net.ipv6.neigh.default.gc_thresh3",
}

// maxInterfaces bounds the interfaces whose sysctls are read.
const maxInterfaces = 32

// Sysctls reads the sysctls that decide what becomes of connections, by name (net.ipv4.ip_forward), below a procfs ("" is
// /proc). Those under net are of the network namespace that the calling thread is in. What the kernel has not, or does not
// show, is left out.
func Sysctls(proc string) map[string]string { return Config{Proc: proc}.withDefaults().sysctls() }

func (c Config) sysctls() map[string]string {
	values := map[string]string{}
	interfaces := map[string][]string{}
	for _, name := range sysctls {
		dir, file, perInterface := strings.Cut(name, ".*.")
		if !perInterface {
			readSysctl(values, name, c.Proc+"/sys/"+strings.ReplaceAll(name, ".", "/"))
			continue
		}
		folder := c.Proc + "/sys/" + strings.ReplaceAll(dir, ".", "/")
		if interfaces[dir] == nil {
			interfaces[dir] = c.interfaces(folder)
		}
		for _, i := range interfaces[dir] {
			readSysctl(values, dir+"."+i+"."+file, filepath.Join(folder, i, file))
		}
	}
	return values
}

// readSysctl reads one. A dot in an interface's name stays one.
func readSysctl(values map[string]string, name, path string) {
	if b, err := os.ReadFile(path); err == nil {
		values[name] = strings.Join(strings.Fields(string(b)), " ")
	}
}

// interfaces are those in a folder of sysctls that are not quiet: all and default first.
func (c Config) interfaces(folder string) []string {
	list := []string{"all", "default"}
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		if n := e.Name(); n != "all" && n != "default" && n != "lo" && !c.quiet(n) && len(list) < maxInterfaces {
			list = append(list, n)
		}
	}
	return list
}
