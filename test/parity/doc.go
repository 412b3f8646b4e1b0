// Package parity holds what detect/sequence says of segments against what tshark says of them: on the captures of
// detect/testdata, and on connections of the real kernel over a cable that loses, delays and reorders, with and without
// selective acknowledgements, time stamps and scaled windows, captured by tcpdump at both ends.
//
// Its nouns:
//
//   - View: the frames of one interface of one capture, which is what a connection's order can be told from.
//   - Score: of one flag, how often both say it, only Ringside, only tshark.
//   - Cable: the link between the two hosts, carried frame by frame by the test.
//
// It needs tshark, and for the second half root and tcpdump; a test that lacks one skips and names it.
package parity
