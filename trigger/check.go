package trigger

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Bounds of a request's values.
const (
	MaxDuration = 24 * time.Hour // of Pre, Post and Cooldown

	maxReasonBytes = 128 // bytes
	maxLabels      = 32
	maxLabel       = 256 // bytes of a value
	maxAhead       = time.Minute
	maxIDOffset    = 24 * time.Hour // between now and the time in an id
)

var labelPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,62}$`)

// Check holds the values of a request against their bounds, as Parse does: for requests that were made otherwise. Its
// error is a *Refusal that names every problem.
func (r Request) Check(now time.Time) error {
	if l := r.problems(now); len(l) > 0 {
		return l.refusal()
	}
	return nil
}

func (r Request) problems(now time.Time) (l problems) {
	if t, ok := IDTime(r.ID); r.ID != "" && !ok {
		l.add("id %s is none: leave it out, or write a time and eight hexadecimal digits, such as %s-0123abcd", quote(r.ID), now.UTC().Format(idTime))
	} else if ok && (t.Before(now.Add(-maxIDOffset)) || t.After(now.Add(maxIDOffset))) {
		l.add("id %s names a time more than %v from now: write the current time", quote(r.ID), maxIDOffset)
	}
	if text := checkReason(r.Reason); text != "" {
		l.add("%s", text)
	}
	switch {
	case r.At.IsZero():
	case r.At.Year() < firstYear || r.At.Year() > lastYear:
		l.add("at is in the year %d: write a time in the past that the spool still holds", r.At.Year())
	case r.At.After(now.Add(maxAhead)):
		l.add("at is %v ahead of this node's clock: what has not happened cannot be kept, write now or a time in the past",
			r.At.Sub(now).Round(time.Second))
	}
	l.duration("pre", r.Pre)
	l.duration("post", r.Post)
	l.duration("cooldown", r.Cooldown)
	if r.Pre != nil && r.Post != nil && *r.Pre == 0 && *r.Post == 0 {
		l.add("pre and post are both 0, which is an empty window: give one of them a duration")
	}
	l.labels(r.Labels)
	return l
}

func (l *problems) duration(name string, d *time.Duration) {
	switch {
	case d == nil:
	case *d < 0:
		l.add("%s is negative (%v): write it without the sign", name, *d)
	case *d > MaxDuration:
		l.add("%s is longer than any window (%v): write %v or less", name, *d, MaxDuration)
	}
}

func (l *problems) labels(labels map[string]string) {
	if len(labels) > maxLabels {
		l.add("there are %d labels: send %d or fewer", len(labels), maxLabels)
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		value := labels[key]
		if !labelPattern.MatchString(key) {
			l.add("label %s: a key begins with a letter or _ and has at most 63 letters, digits, _, - and .", quote(key))
		}
		if len(value) > maxLabel {
			l.add("label %s has a value of %d bytes: write %d or fewer", quote(key), len(value), maxLabel)
		} else if !printable(value) {
			l.add("label %s has a value with a line break or another character that cannot be printed: %s: remove it", quote(key), quote(value))
		}
	}
}

// checkReason returns what is wrong with a reason, or "".
func checkReason(s string) string {
	if len(s) > maxReasonBytes {
		return fmt.Sprintf("reason has %d bytes: write %d or fewer, and put the rest in labels", len(s), maxReasonBytes)
	}
	if !printable(s) {
		return fmt.Sprintf("reason %s has a line break or another character that cannot be printed: remove it", quote(s))
	}
	return ""
}

// printable says whether s is valid UTF-8 and can stand in a line of a terminal or a log as it is.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c == unicode.ReplacementChar || !unicode.IsPrint(c) })
}

// oneLine is what of s is printable, in at most that many bytes.
func oneLine(s string, most int) string {
	s = strings.Map(func(c rune) rune {
		if !printable(string(c)) {
			return ' '
		}
		return c
	}, s)
	if s = strings.TrimSpace(s); len(s) > most {
		s = strings.ToValidUTF8(s[:most-3], "") + "..."
	}
	return s
}

// The years whose times fit into nanoseconds since 1970.
const (
	firstYear = 1970
	lastYear  = 2261
)

// parseTime reads a point in time as requests have it: RFC 3339, "now", or a time before now, such as "-5m". Its error
// completes a sentence that begins with the value.
func parseTime(s string, now time.Time) (time.Time, error) {
	if s == "now" {
		return now, nil
	}
	if ago, ok := strings.CutPrefix(s, "-"); ok {
		d, err := parseDuration(ago)
		if err != nil {
			return time.Time{}, errors.New("is no time before now: write a number and a unit (s, m, h, d), such as -5m or -1h30m")
		}
		return inRange(now.Add(-d))
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, errors.New("is no time: write 2006-01-02T15:04:05Z (RFC 3339), now, or a time before now such as -5m")
	}
	return inRange(t)
}

func inRange(t time.Time) (time.Time, error) {
	if y := t.UTC().Year(); y < firstYear || y > lastYear {
		return time.Time{}, fmt.Errorf("is out of range: write a time between the years %d and %d", firstYear, lastYear)
	}
	return t, nil
}

var errDuration = errors.New("is no duration: write a number and a unit (ms, s, m, h, d), such as 30s, 2m or 1h30m")

// parseDuration reads a duration as requests have it: what time.ParseDuration reads, and days, as in 1d12h, but nothing
// negative. Its error completes a sentence that begins with the value.
func parseDuration(s string) (time.Duration, error) {
	if strings.HasPrefix(s, "-") {
		return 0, errors.New("is negative: write it without the sign")
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n > 0 {
		return 0, fmt.Errorf("has no unit: write %[1]ss for seconds, or %[1]sm, %[1]sh", s)
	}
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		days, rest = "0", s
	} else if rest == "" {
		rest = "0"
	}
	n, err := strconv.ParseFloat(days, 64)
	if err != nil || !(n >= 0 && n <= maxDays) { // NaN is neither
		return 0, errDuration
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || more > maxDays*24*time.Hour {
		return 0, errDuration
	}
	return time.Duration(n*24*float64(time.Hour)) + more, nil
}

// maxDays keeps sums of durations far from overflow.
const maxDays = 36500
