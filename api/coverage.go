package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/ringside/ringside/rotate"
)

// Headers of a window, and trailers once it is read.
const (
	headerCoverage = "Ringside-Coverage" // rotate.Coverage as JSON
	headerMissing  = "Ringside-Missing"  // the same for people
	headerPackets  = "Ringside-Packets"  // trailer: how many were handed out
)

const (
	maxHeaderValue  = 4 << 10 // clients refuse more than 8 to 16 KiB of headers
	maxMissingShown = 5
)

// covered says whether the spool has recorded any part of the window.
func covered(c rotate.Coverage) bool {
	for _, r := range c.Rings {
		if len(r.Covered) > 0 {
			return true
		}
	}
	return false
}

// notCovered is the detail of the problem for a window of which nothing was recorded.
func notCovered(c rotate.Coverage, s Spool) string {
	text := fmt.Sprintf("nothing was recorded between %s and %s", nano(c.From), nano(c.To))
	if s.Oldest.IsZero() {
		return text + ": the spool is empty, /readyz?verbose says which interfaces are recorded"
	}
	return text + fmt.Sprintf(": the spool covers %s to %s, ask for a part of that", nano(s.Oldest), nano(s.Newest))
}

// describe sets the headers of an answer with packets.
func describe(h http.Header, c rotate.Coverage) {
	h.Set("Content-Type", packetsType)
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="ringside-%s.pcapng"`, c.From.UTC().Format("20060102T150405.000Z")))
	h.Set(headerCoverage, coverageJSON(c))
	h.Set(headerMissing, missing(c))
	h.Set("Trailer", headerPackets) // announced, so that short answers have trailers too
}

// conclude sets the trailers: what was damaged shows only while the window is read.
func conclude(h http.Header, c rotate.Coverage) {
	h.Set(http.TrailerPrefix+headerMissing, missing(c))
	h.Set(headerPackets, fmt.Sprint(c.Packets))
}

// coverageJSON is c on one line of ASCII. Notes, then all lists, are left out where it would be too long; truncated
// then says so.
func coverageJSON(c rotate.Coverage) string {
	type short struct {
		From      time.Time `json:"from"`
		To        time.Time `json:"to"`
		Packets   uint64    `json:"packets"`
		Segments  int       `json:"segments"`
		Complete  bool      `json:"complete"`
		Truncated bool      `json:"truncated"`
	}
	bare := short{c.From, c.To, c.Packets, c.Segments, c.Complete(), true}
	c.Notes = nil
	for _, v := range []any{c, bare} {
		text, err := json.Marshal(v)
		if s := ascii(string(text)); err == nil && len(s) <= maxHeaderValue {
			return s
		}
	}
	return "{}" // never: bare is short and plain
}

// ascii escapes in JSON text what a header may not hold.
func ascii(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < 0x7f {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}

// missing says in words what the window lacks, "none" if nothing.
func missing(c rotate.Coverage) string {
	if c.Complete() {
		return "none"
	}
	var parts []string
	for _, m := range c.Missing[:min(len(c.Missing), maxMissingShown)] {
		part := fmt.Sprintf("%s from %s to %s", m.Reason, nano(m.From), nano(m.To))
		if m.Ring != "" {
			part += " on " + m.Ring
		}
		if m.Packets > 0 {
			part += fmt.Sprintf(" (%d packets)", m.Packets)
		}
		parts = append(parts, part)
	}
	if more := len(c.Missing) - maxMissingShown; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f {
			return '?'
		}
		return r
	}, strings.Join(parts, "; "))
}

func nano(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
