// Package readback reads recordings with the tools that users have, and holds what they show against what was sent.
//
// Its nouns:
//
//   - Packet: a packet of package loadgen as tshark shows it.
//   - Ledger: the account of a proof: which packets of which plans were read, on which interface, how often, and what
//     about them was not as the plan says.
package readback
