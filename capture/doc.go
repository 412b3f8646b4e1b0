// Package capture records packets from the kernel's AF_PACKET rings into chunks.
//
// Its nouns:
//
//   - Ring: a TPACKET_V3 receive ring (linux/if_packet.h): memory the kernel fills with packets and Ringside reads. An
//     uplink has a ring of its own; the shared ring takes every other interface the policy names.
//   - Block: a part of a ring that the kernel hands over at once, borrowed until it is released.
//   - Interface rule: "auto" (the interfaces of the default routes), a name, or a glob.
//   - Policy: the programs of the services in force, less the connections of this process that LeaveOut names. All rings
//     have the same. Reconfigure replaces it while they record; each packet is judged by the era of its time.
//   - Sink: where full chunks go and empty ones come from.
//
// What is lost is lost between the wire and a chunk, nowhere else, and is counted there: by ring, between two dates.
// This is the only package that uses unsafe: a ring's memory is shared with the kernel, and ethtool's answers go where a
// request points.
package capture
