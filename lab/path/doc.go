// Package path is the way between two hosts of a laboratory: this process carries the frames, and so decides how long
// they take, which are lost, and how many pass in a second. It needs no module of the kernel but tun.
//
// Its nouns:
//
//   - Path: a cable with a tap device at each end.
//   - Conditions: what becomes of a frame on its way. They can be changed at any time; what is on its way keeps its own.
package path
