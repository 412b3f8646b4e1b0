package sequence

import "strings"

// Flags is what a segment is. The names are those of Wireshark's tcp.analysis.
type Flags uint32

// What a segment may be.
const (
	Retransmission     Flags = 1 << iota // it repeats what was sent before
	FastRetransmission                   // also Retransmission: after repeated acknowledgements, before a time-out
	Spurious                             // also Retransmission: it had been acknowledged before
	OutOfOrder                           // it fills a gap too soon after what followed it to have been sent again
	LostSegment                          // something before it was not captured, or was lost before here
	AckedUnseen                          // it acknowledges what was not captured
	DuplicateAck                         // it acknowledges what the one before did, and nothing else
	ZeroWindow                           // its sender takes no more data
	ZeroWindowProbe                      // one byte more than a closed window allows
	ZeroWindowProbeAck                   // the window still is closed
	WindowFull                           // it takes all that is left of the receiver's window
	WindowUpdate                         // it acknowledges what the one before did, with another window
	KeepAlive                            // it repeats the last byte, or only its number
	KeepAliveAck                         // the answer
	PortReused                           // a SYN of a connection that had been there before, with another sequence number
	Reset                                // RST

	TimeOut  // of retransmissions: sent again after a retransmission time-out (RFC 6298)
	TailLoss // of retransmissions: the last segment, sent again sooner than a time-out would (RFC 8985)
)

var names = [...]string{
	"retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order", "lost_segment", "ack_lost_segment",
	"duplicate_ack", "zero_window", "zero_window_probe", "zero_window_probe_ack", "window_full", "window_update", "keep_alive",
	"keep_alive_ack", "reused_ports", "reset", "time_out", "tail_loss",
}

// Has says whether all of want hold.
func (f Flags) Has(want Flags) bool { return f&want == want }

// String is the names of all that hold, as Wireshark's fields below tcp.analysis are named: retransmission,time_out.
func (f Flags) String() string {
	var all []string
	for i, name := range names {
		if f&(1<<i) != 0 {
			all = append(all, name)
		}
	}
	return strings.Join(all, ",")
}
