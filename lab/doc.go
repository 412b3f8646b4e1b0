// Package lab reproduces the incident that Ringside exists for, and what looks like it, in namespaces on the machine at
// hand: with the real daemon inside, real traffic, and the truth known.
//
// Its nouns:
//
//   - Scenario: one thing that goes wrong, how it is brought about, and what must be seen of it.
//   - Setup: what the laboratory of one run is built of; what the scenario leaves open is drawn from the seed.
//   - Lab: the hosts, links, rules, servers and clients of a run. Pods behind a node, the node's uplinks, a router outside,
//     and servers behind it.
//   - Recorder: the daemon in the node, its configuration, and the bundle that it makes of the fault.
//   - Seen: everything there is to judge a run by: what the clients saw, the packets and the timeline in the bundle.
//   - Expectation: a statement about what was seen, and whether it holds.
//   - Result: a run as JSON.
//
// A laboratory never touches links, rules or sysctls of the machine. Everything is in anonymous namespaces, files of the
// daemon included, and vanishes with the process. Any number of runs may go on at once.
package lab
