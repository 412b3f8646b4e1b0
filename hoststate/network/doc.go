// Package network watches the configuration of the network namespace the process is in: what decides which way packets go, and
// whether they go at all.
//
// Its nouns:
//
//   - Watcher: follows links, addresses, routes of all tables, policy rules, and gateways' neighbours, through rtnetlink.
//   - RulesetWatcher: follows the generations of nftables, and tells what each change made of the rule set.
//   - SysctlWatcher: reads the sysctls that decide what becomes of connections.
//   - State, Ruleset, Sysctls: the same as text, for snapshots.
//
// # Who did it
//
// A change of addresses, routes and rules comes with the portid of the socket that asked for it. 0 is the kernel, which
// also stands for what was asked by ioctl. Changes of links come with it only since Linux 6.2 and only for what is made or deleted, so
// that a 0 says nothing there. nftables names the process itself.
//
// # What the kernel does not tell
//
// When an interface goes down, or loses its last IPv4 address, the kernel removes the IPv4 routes that went over it without
// a message. Those routes are read again at once, at most a tenth of the time; what is missing is a route.remove, by the kernel, with
// the time of its cause. A route that comes anew although it was never told to be gone was removed in between in the same way.
//
// An IPv6 address is told of when it may be used, once its duplicate address detection has ended, for that is when the kernel tells.
//
// # Quiet interfaces
//
// Pods come and go by the hundred. Interfaces that match Config.Quiet, their link-local addresses, and the routes the kernel
// makes for those are counted, and told once a second in one link.change whose subject is "quiet". An interface with
// a default route, in whatever table, is never quiet; nor are other addresses and routes, such as a pod's, of any interface.
package network
