// Package ringside runs the real binary for the proofs: builds it, starts it in a namespace of package netlab, asks it
// over its Unix socket, stops it in every way there is, and finds what it wrote.
//
// Its nouns:
//
//   - Binary: the program, built once for all proofs of a test process.
//   - Options: what a recorder is started with; the zero value of most fields is the product's default.
//   - Recorder: one running (or ended) process and its spool.
package ringside
