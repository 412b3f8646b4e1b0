package logs

import (
	"errors"
	"strings"
	"time"
)

// zone is the host's local time.
type zone struct{ loc *time.Location }

// layouts of the time that begins a line, the most telling first.
var layouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05.999999999-0700",
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999 -0700",
	"2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999", // a comma before the fraction is read as well
	"2006-01-02  15:04:05",          // apt
	"Jan _2 15:04:05",               // syslog, RFC 3164: neither year nor zone
}

// stamp reads the time that begins s in one of the layouts, and returns what follows it.
func (z *zone) stamp(s string, written time.Time, layouts ...string) (t time.Time, rest string, ok bool) {
	for _, layout := range layouts {
		if t, rest, ok = z.read(layout, s, written); ok {
			return t, rest, true
		}
	}
	return time.Time{}, s, false
}

func (z *zone) read(layout, s string, written time.Time) (time.Time, string, bool) {
	rest := ""
	t, err := time.ParseInLocation(layout, s, z.loc)
	var p *time.ParseError
	if errors.As(err, &p) && strings.HasPrefix(p.Message, ": extra text") && strings.HasSuffix(s, p.ValueElem) {
		rest = p.ValueElem
		t, err = time.ParseInLocation(layout, s[:len(s)-len(rest)], z.loc)
	}
	if err != nil {
		return time.Time{}, s, false
	}
	if t.Year() == 0 {
		t = z.year(t, written)
	}
	if t.Location() == z.loc {
		t = z.likelier(t, written)
	}
	return z.settle(t, written), rest, true
}

// year gives a time without one that which is nearest to when it was written.
func (z *zone) year(t, written time.Time) time.Time {
	nearest := time.Time{}
	for y := written.In(z.loc).Year() - 1; y <= written.In(z.loc).Year()+1; y++ {
		c := time.Date(y, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), z.loc)
		if nearest.IsZero() || c.Sub(written).Abs() < nearest.Sub(written).Abs() {
			nearest = c
		}
	}
	return nearest
}

// likelier decides for the hour that comes twice when the clocks are put back: whichever is nearer to when the line was written.
func (z *zone) likelier(t, written time.Time) time.Time {
	for _, d := range []time.Duration{-time.Hour, time.Hour} {
		other := t.Add(d)
		if other.Hour() == t.Hour() && other.Minute() == t.Minute() && other.Sub(written).Abs() < t.Sub(written).Abs() {
			return other
		}
	}
	return t
}

// settle returns when a line happened that says it was at t and was written at written or before. A time of whole seconds
// says less than the time of writing within that second; one that lies ahead, or a month back, is not believed.
func (z *zone) settle(t, written time.Time) time.Time {
	const ahead, back = 2 * time.Minute, 31 * 24 * time.Hour
	age := written.Sub(t)
	if t.Nanosecond() == 0 && age >= 0 && age < time.Second || age < -ahead || age > back {
		return written.UTC()
	}
	return t.UTC()
}
