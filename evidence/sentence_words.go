package evidence

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// moment is a time of the day, UTC, to the millisecond.
func moment(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// count is a number of things in words: 1 flow, 41 flows, 12,345 packets.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if strings.HasSuffix(thing, "ch") {
		thing += "e"
	}
	return thousands(uint64(max(n, 0))) + " " + thing + "s"
}

// thousands is a number with commas.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// enumerate is names as a sentence has them: a, b and c; at most four, and how many more there are.
func enumerate(names []string) string {
	const most = 4
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most-1], ", "), len(names)-most+1)
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// span is a duration as people say it: 300 ms, 1.2 s, 4 min.
func span(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "less than 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	}
	return fmt.Sprintf("%d min", int(d.Minutes()))
}

// host is the address of an endpoint.
func host(endpoint string) string {
	if a, err := netip.ParseAddrPort(endpoint); err == nil {
		return a.Addr().String()
	}
	return endpoint
}

// clean makes text of others fit for a sentence: one line, single spaces.
func clean(s string) string { return strings.TrimRight(strings.Join(strings.Fields(s), " "), ".;, ") }
