// Package counters reads the kernel's own counters each second and tells what they grew by.
//
// Its nouns:
//
//   - Counter: a total that only grows. What it grew by since the last reading is told, and only if it did. One that falls,
//     comes or vanishes (of an interface, of a CPU, at a wrap) starts anew and grew by nothing, but for those of 32 bits, which
//     wrap.
//   - Value: what there is now, such as the entries of the conntrack table. It is told when it has changed by enough.
//   - Baseline: the event with the subject "first", at the start of the watcher: all totals that are not zero, and all values.
//
// # Which, and their names
//
// Told are counters that say that something was lost, refused, repeated or waited for, and of volume only packets: of each
// uplink, of all other interfaces together, and through the CPUs' queues. Octets, segments and acknowledgments are left out:
// the packets themselves are in the spool. On a quiet node that is an event of less than 500 bytes a second, and none in a
// second in which nothing happened.
//
//   - conntrack.entries, conntrack.max: values. conntrack.invalid, .insert_failed, .drop, .early_drop, .icmp_error, .clashres,
//     .search_restart, .chainlength: of /proc/net/stat/nf_conntrack, of all CPUs together, under its header's names.
//   - ip.*, icmp.*, tcp.*, udp.*, ipext.*, tcpext.*: of /proc/net/snmp and /proc/net/netstat, ip6.*, icmp6.*, udp6.* of
//     /proc/net/snmp6, under the kernel's names, such as tcp.RetransSegs. They are of the host's network namespace: pods have
//     their own, but what the host forwards shows in ip.*.
//   - softnet.processed, .dropped, .time_squeeze, .flow_limit: of /proc/net/softnet_stat, of all CPUs together.
//   - link.UPLINK.rx_packets, .rx_errors, .rx_drops, .tx_packets, .tx_errors, .tx_drops: of /proc/net/dev; link.others.* is the
//     same of all others but lo together, which are mostly those of pods.
//   - ena.UPLINK.bw_in_allowance_exceeded and the like: what EC2 dropped or delayed above the instance's allowances;
//     ena.UPLINK.conntrack_allowance_available is a value.
//   - psi.cpu.some_us, psi.memory.full_us, psi.io.some_us and so on: microseconds in which some or all tasks waited, of
//     /proc/pressure; told from a millisecond on, until then it is saved up.
//   - disk.free_bytes: a value: what the spool's file system has left for users.
//   - elapsed_ms: only if more than one and a half intervals have passed since the last reading: the growth is of that time.
package counters
