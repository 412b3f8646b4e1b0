// Package dhcp is a DHCP server for one client, as the network of a laboratory has one: it answers whoever asks with the
// same lease (RFC 2131).
package dhcp
