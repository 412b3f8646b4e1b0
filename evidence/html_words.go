package evidence

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ringside/ringside/detect"
)

// functions are what the page's templates call.
var functions = template.FuncMap{
	"clock":      timeOfDay,
	"stamp":      stamp,
	"machine":    func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"millis":     func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixNano())/1e6, 'f', 3, 64) },
	"nanos":      func(ns int64) time.Time { return time.Unix(0, ns).UTC() },
	"lasted":     func(from, to time.Time) string { return duration(int64(to.Sub(from))) },
	"duration":   duration,
	"seconds":    func(s float64) string { return duration(int64(s * 1e9)) },
	"size":       size,
	"grouped":    func(n any) string { return grouped(fmt.Sprint(n)) },
	"join":       strings.Join,
	"words":      confidenceWords,
	"percent":    func(c float64) string { return fmt.Sprintf("%.0f %%", 100*c) },
	"title":      classTitle,
	"plural":     plural,
	"brief":      brief,
	"interface":  interfaceName,
	"reasonText": func(reason string) string { return strings.ReplaceAll(reason, "-", " ") },
}

// timeOfDay is a time of day to the millisecond, UTC.
func timeOfDay(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("15:04:05.000")
}

// stamp is a time with its date, UTC.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000")
}

// duration is a length of time, given in ns, to three digits.
func duration(ns int64) string {
	v, unit := float64(ns), "ns"
	switch {
	case ns == 0:
		return "0"
	case math.Abs(v) >= 120e9:
		return time.Duration(ns).Round(time.Second).String()
	case math.Abs(v) >= 1e9:
		v, unit = v/1e9, "s"
	case math.Abs(v) >= 1e6:
		v, unit = v/1e6, "ms"
	case math.Abs(v) >= 1e3:
		v, unit = v/1e3, "µs"
	}
	return digits(v) + " " + unit
}

// digits is a number to three digits, without an exponent.
func digits(v float64) string {
	decimals := 0
	if a := math.Abs(v); a < 10 {
		decimals = 2
	} else if a < 100 {
		decimals = 1
	}
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// size is a number of bytes as people write it.
func size(n int64) string {
	v, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, next
	}
	return digits(v) + " " + unit
}

// grouped parts the thousands of a whole number with narrow spaces.
func grouped(n string) string {
	for i := len(n) - 3; i > 0 && n[i-1] != '-'; i -= 3 {
		n = n[:i] + "\u202f" + n[i:]
	}
	return n
}

// interfaceName is what a vantage is called: many captures give their only interface no name.
func interfaceName(name string) string {
	if name == "" {
		return "unnamed interface"
	}
	return name
}

// brief is the beginning of a text of others, which may be of any length.
func brief(s string) string {
	const most = 300
	for i := range s {
		if i >= most {
			return s[:i] + "…"
		}
	}
	return s
}

func plural(n any, one, many string) string {
	text := fmt.Sprint(n)
	if text == "1" {
		return text + " " + one
	}
	return grouped(text) + " " + many
}

// confidenceWords says how sure a verdict is.
func confidenceWords(c float64) string {
	switch {
	case c >= 0.95:
		return "as good as certain"
	case c >= 0.85:
		return "very likely"
	case c >= 0.65:
		return "likely"
	case c >= 0.4:
		return "possible"
	}
	return "a guess"
}

// classTitle is a class in words.
func classTitle(c detect.Class) string {
	switch c {
	case detect.None:
		return "nothing found"
	case detect.DNSFailure:
		return "DNS failure"
	case detect.NATRulesLoss:
		return "NAT rules loss"
	}
	return strings.ReplaceAll(string(c), "-", " ")
}
