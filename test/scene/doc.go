// Package scene sets up what a person finds who tries Ringside out: a node with real traffic, and a bucket. The demo and
// the tests of README and docs play in it.
//
// Its nouns:
//
//   - Scene: a node in namespaces of its own, whose uplink (a default route) leads to a redis server; a local S3 server on
//     the node's loopback; /run, /var/lib and /etc of its own, so that the defaults of the program can be used; a folder to work
//     in. Nothing of it is seen by the machine, or left when it is closed.
//   - Traffic: what redis-cli sends through the uplink, steadily.
package scene
