package rotate

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Names of files and directories in a spool.
const (
	suffixSealed = ".pcapng"
	suffixOpen   = ".pcapng.open"
	suffixIndex  = ".idx"
	suffixTemp   = ".tmp"
	lockName     = "lock"
	pinsName     = "pins"
	windowsName  = "windows" // hard links of what is being read, emptied at start
	damagedName  = "damaged" // files set aside because they are no segments
)

const stampLayout = "20060102T150405.000000Z"

var basePattern = regexp.MustCompile(`^([0-9]{8,19})-([0-9]{8}T[0-9]{6}\.[0-9]{6}Z)$`)

// baseName is the name of a segment without suffix: its sequence and the time of its creation, UTC, without colons.
func baseName(sequence uint64, created time.Time) string {
	return fmt.Sprintf("%08d-%s", sequence, created.UTC().Format(stampLayout))
}

// parseBase is the inverse of baseName.
func parseBase(base string) (sequence uint64, created time.Time, ok bool) {
	m := basePattern.FindStringSubmatch(base)
	if m == nil {
		return 0, time.Time{}, false
	}
	sequence, err := strconv.ParseUint(m[1], 10, 63)
	if err != nil {
		return 0, time.Time{}, false
	}
	created, err = time.Parse(stampLayout, m[2])
	return sequence, created, err == nil
}

// parseName splits the name of a segment's file into base and state.
func parseName(name string) (base string, open, ok bool) {
	base, open = strings.CutSuffix(name, suffixOpen)
	if !open {
		var sealed bool
		if base, sealed = strings.CutSuffix(name, suffixSealed); !sealed {
			return "", false, false
		}
	}
	_, _, ok = parseBase(base)
	return base, open, ok
}
