// Package proofs holds what the recorder must show, as tests of the real binary on real interfaces and disks. Each
// prints its exact numbers (go test -v).
//
// The quick form of every proof runs with the other tests; RINGSIDE_PROOFS=1 runs them at full length, in less than 20
// minutes. They need root, and tcpdump, tshark, capinfos and mkfs.ext4; a proof that lacks one skips and names it.
package proofs
