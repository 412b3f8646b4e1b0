package api

import (
	"fmt"
	"strings"
	"time"
)

// The times that a number of nanoseconds since 1970 can hold.
const (
	firstYear = 1970
	lastYear  = 2261
)

// ParseTime reads a point in time as requests and flags give it: RFC 3339, such as 2026-11-22T03:10:00Z or with an
// offset; "now"; or a time before now as time.ParseDuration has it, such as -5m or -1h30m.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if s == "now" {
		return now, nil
	}
	if strings.HasPrefix(s, "-") {
		d, err := time.ParseDuration(s)
		if err != nil {
			return time.Time{}, fmt.Errorf("%q is no time before now: write a number and a unit (s, m, h), such as -5m or -1h30m", s)
		}
		return bounded(s, now.Add(d))
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time: write 2006-01-02T15:04:05Z (RFC 3339), now, or a time before now such as -5m", s)
	}
	return bounded(s, t)
}

func bounded(s string, t time.Time) (time.Time, error) {
	if y := t.UTC().Year(); y < firstYear || y > lastYear {
		return time.Time{}, fmt.Errorf("%q is out of range: write a time between the years %d and %d", s, firstYear, lastYear)
	}
	return t, nil
}
