package trigger

import (
	"crypto/rand"
	"encoding/hex"
	"regexp"
	"time"
)

// idTime is the part of an id that sorts: UTC, without colons, to the microsecond.
const idTime = "20060102T150405.000000Z"

var idPattern = regexp.MustCompile(`^(\d{8}T\d{6}\.\d{6}Z)-[0-9a-f]{8}$`)

// NewID returns an id for a trigger received at t. Its last part is random, so that nodes do not collide.
func NewID(t time.Time) string {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return t.UTC().Format(idTime) + "-" + hex.EncodeToString(b[:])
}

// IDTime returns the time in an id, and whether it is one.
func IDTime(id string) (time.Time, bool) {
	m := idPattern.FindStringSubmatch(id)
	if m == nil {
		return time.Time{}, false
	}
	t, err := time.Parse(idTime, m[1])
	return t, err == nil
}
