package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

var sizeUnits = map[string]float64{
	"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, // Kubernetes quantities
}

// parseSize reads a number of bytes, such as 64MiB, 1.5GiB or 500MB. 0 needs no unit.
func parseSize(s string) (int64, error) {
	number, unit := splitUnit(s)
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n < 0 {
		return 0, errors.New("is no size: write a number and a unit, such as 64MiB")
	}
	if unit == "" && n == 0 {
		return 0, nil
	}
	factor, ok := sizeUnits[unit]
	switch {
	case unit == "":
		return 0, fmt.Errorf("has no unit: write %[1]sMiB, or %[1]sB for bytes", number)
	case !ok && strings.ContainsAny(unit[:1], "kKmMgGtT"):
		letter := strings.ToUpper(unit[:1])
		return 0, fmt.Errorf("has no unit known here: write %[1]s%[2]siB (powers of 1024) or %[1]s%[2]sB (powers of 1000)", number, letter)
	case !ok:
		return 0, errors.New("has no unit known here: units are B, KiB, MiB, GiB, TiB, KB, MB, GB and TB")
	}
	if n *= factor; n > math.MaxInt64/2 {
		return 0, errors.New("is more than any machine has")
	}
	return int64(math.Round(n)), nil
}

// parseDuration reads what time.ParseDuration reads, and days, as in 1d or 1d12h. It refuses negative ones.
func parseDuration(s string) (time.Duration, error) {
	if strings.HasPrefix(s, "-") {
		return 0, errors.New("is negative: write it without the sign")
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		if n == 0 {
			return 0, nil
		}
		return 0, fmt.Errorf("has no unit: write %[1]ss for seconds, or %[1]sm, %[1]sh, %[1]sd", s)
	}
	if s == "" {
		return 0, errDuration
	}
	var days float64
	rest := s
	if before, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseFloat(before, 64)
		if err != nil || !(n >= 0 && n <= maxDays) {
			return 0, errDuration
		}
		days, rest = n, after
	}
	var more time.Duration
	if rest != "" {
		var err error
		if more, err = time.ParseDuration(rest); err != nil || more < 0 || more > maxDays*24*time.Hour {
			return 0, errDuration
		}
	}
	return time.Duration(days*24*float64(time.Hour)) + more, nil
}

// maxDays keeps sums of durations far from overflow.
const maxDays = 36500

var errDuration = errors.New("is no duration: write a number and a unit (ms, s, m, h, d), such as 30s, 24h or 1d12h")

// parseShare reads a percentage and returns it as a fraction, 0 to 1.
func parseShare(s string) (float64, error) {
	number, ok := strings.CutSuffix(s, "%")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	switch {
	case err != nil || math.IsNaN(n):
		return 0, errors.New("is no percentage: write 20%")
	case !ok && n > 0 && n < 1:
		return 0, fmt.Errorf("has no unit: write %s%%", strconv.FormatFloat(n*100, 'f', -1, 64))
	case !ok:
		return 0, fmt.Errorf("has no unit: write %s%%", number)
	case n < 0 || n > 100:
		return 0, errors.New("is no percentage: it must be between 0% and 100%")
	}
	return n / 100, nil
}

// splitUnit splits 64MiB into 64 and MiB; a space between them is allowed.
func splitUnit(s string) (number, unit string) {
	s = strings.TrimSpace(s)
	i := strings.LastIndexAny(s, "0123456789.") + 1
	return s[:i], strings.TrimSpace(s[i:])
}

// formatSize writes bytes in the largest unit that divides them.
func formatSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return strconv.FormatInt(n, 10) + units[i]
}
