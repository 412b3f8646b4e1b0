package traffic

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// End is how a connection, or the attempt to make one, ended for the client.
type End string

const (
	Open        End = "open"        // it has not
	Closed      End = "closed"      // by the client
	WasReset    End = "reset"       // RST
	EOF         End = "eof"         // FIN where an answer or message was due
	TimedOut    End = "timeout"     // no handshake, no answer or no message within Load.Timeout
	Refused     End = "refused"     // RST instead of a handshake
	Unreachable End = "unreachable" // an ICMP error, or no route
	NoName      End = "no name"     // the name server gave no address
	Failed      End = "failed"      // anything else
)

// Flow is one connection of a client, or the attempt to make one.
type Flow struct {
	Service string         `json:"service"`
	Pooled  bool           `json:"pooled"`           // kept open; else made for one request
	Local   netip.AddrPort `json:"local,omitzero"`   // on the client's side; zero if no SYN could be sent
	Remote  netip.AddrPort `json:"remote"`           // the server
	Outside netip.AddrPort `json:"outside,omitzero"` // Local as the server saw it; zero if it never said so
	Opened  time.Time      `json:"opened"`
	Connect time.Duration  `json:"connect_ns"` // from Opened to the handshake; -1: there was none
	Answers int            `json:"answers"`    // or messages
	Slowest time.Duration  `json:"slowest_ns"` // of them
	Ended   time.Time      `json:"ended,omitzero"`
	End     End            `json:"end"`
	Waited  time.Duration  `json:"waited_ns,omitzero"` // for what did not come, when it ended badly
}

// Bad says whether the connection ended otherwise than by the client's will.
func (f *Flow) Bad() bool { return f.End != Open && f.End != Closed }

// There says whether the connection was there at that time, as far as the client knew.
func (f *Flow) There(at time.Time) bool {
	return f.Connect >= 0 && f.Opened.Add(f.Connect).Before(at) && (f.Ended.IsZero() || f.Ended.After(at))
}

// Hit says whether a fault at that time broke the flow: it was there, and then ended badly.
func (f *Flow) Hit(at time.Time) bool { return f.Bad() && f.There(at) }

// classify tells how a connection ended by the error of its last call.
func classify(err error, handshake bool) End {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	var name *noName
	switch {
	case err == nil:
		return Closed
	case errors.As(err, &name):
		return NoName
	case is(os.ErrDeadlineExceeded, unix.ETIMEDOUT):
		return TimedOut
	case is(unix.ECONNREFUSED) && handshake:
		return Refused
	case is(unix.ECONNRESET, unix.EPIPE, unix.ECONNREFUSED):
		return WasReset
	case is(io.EOF, io.ErrUnexpectedEOF):
		return EOF
	}
	for _, e := range unreachable {
		if is(e) {
			return Unreachable
		}
	}
	return Failed
}

// unreachable is what the network says, or the host itself, where no packet reaches the peer.
var unreachable = []syscall.Errno{
	unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN, unix.ENONET, unix.EACCES, unix.EPERM,
	unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EADDRNOTAVAIL,
}
