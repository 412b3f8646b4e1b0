package series

import "time"

// Series is a service over time. All series of a table have the same From, StepNS and number of buckets.
type Series struct {
	Service string    `json:"service"`
	From    time.Time `json:"from"`    // of the first bucket, a multiple of the step since 1970
	StepNS  int64     `json:"step_ns"` // of all buckets: 125 ms, doubled as often as the length of the capture asks for
	Buckets []Bucket  `json:"buckets"` // without gaps

	Packets uint64 `json:"packets"`
	Total   Bucket `json:"total"`
}

// Bucket is what happened in one step. Durations are in nanoseconds, 0 without answers. Percentiles are within an eighth of what
// they are of 16 µs to 68 s, maxima are exact.
type Bucket struct {
	Answers       uint64 `json:"answers"`
	P50           int64  `json:"p50_ns"`
	P95           int64  `json:"p95_ns"`
	Max           int64  `json:"max_ns"`
	Connects      uint64 `json:"connects"`
	ConnectMax    int64  `json:"connect_max_ns"`
	Refused       uint64 `json:"refused"`
	Unanswered    uint64 `json:"unanswered"` // SYNs that were sent again
	Resets        uint64 `json:"resets"`
	Retransmitted uint64 `json:"retransmitted"`
	ZeroWindows   uint64 `json:"zero_windows"`
	TimeOuts      uint64 `json:"time_outs"`
	Bytes         uint64 `json:"bytes"`
}

// Kinds of what is counted.
type Kind uint8

const (
	Answer  Kind = iota // the value is its response time in ns
	Connect             // the value is its time in ns
	Refused
	Unanswered
	Reset
	Retransmitted
	ZeroWindow
	TimeOut
	Bytes // a packet; the value is its payload, which may be 0
)
