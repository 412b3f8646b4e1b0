package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	maxEntry = 256 << 10 // bytes of JSON; longer entries are left out
	maxText  = 4 << 10   // bytes of a message that are kept
)

// fields is what journalctl is asked for, beside the cursor and the time, which it always gives.
const fields = "MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT,OBJECT_SYSTEMD_UNIT,SYSLOG_IDENTIFIER,_PID,_TRANSPORT,_SOURCE_REALTIME_TIMESTAMP"

// Entry is a line of the journal (systemd.journal-fields(7)).
type Entry struct {
	Cursor   string
	Time     time.Time // when it was written, as the writer says, or else when the journal took it
	Unit     string    // that it is of or about; "" for none
	Program  string    // SYSLOG_IDENTIFIER
	Message  string    // text without control characters, at most 4 KiB
	Priority int       // 0 (emergency) to 7 (debug); 6 if it does not say
	PID      int
}

var errNoEntry = errors.New("not an entry of the journal")

// parse reads one line of journalctl -o json.
func parse(line []byte) (e Entry, err error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(line, &raw); err != nil {
		return e, errNoEntry
	}
	get := func(name string) string { return text(raw[name]) }
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(get(name)); err == nil {
			return n
		}
		return otherwise
	}
	e = Entry{Cursor: get("__CURSOR"), Program: get("SYSLOG_IDENTIFIER"), Message: get("MESSAGE"), Priority: number("PRIORITY", 6), PID: number("_PID", 0)}
	for _, name := range []string{"UNIT", "OBJECT_SYSTEMD_UNIT", "_SYSTEMD_UNIT"} { // the first two: systemd about a unit
		if e.Unit == "" {
			e.Unit = get(name)
		}
	}
	for _, name := range []string{"_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"} {
		if µs := number(name, 0); µs > 0 && e.Time.IsZero() {
			e.Time = time.UnixMicro(int64(µs)).UTC()
		}
	}
	if e.Cursor == "" || e.Time.IsZero() {
		return e, errNoEntry
	}
	return e, nil
}

// text reads a field: text, bytes as numbers where it is none, null where it is too long, or a list of these.
func text(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || json.Unmarshal(raw, &s) == nil {
		if string(raw) == "null" {
			return "(longer than 4 KiB)"
		}
		return clean(s)
	}
	var numbers []uint16
	if json.Unmarshal(raw, &numbers) == nil {
		b := make([]byte, len(numbers))
		for i, n := range numbers {
			b[i] = byte(n)
		}
		return clean(string(b))
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && len(list) > 0 && list[0][0] != '[' {
		return text(list[0])
	}
	return ""
}

func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText-3] + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// lines hands out the lines of r until its end. Of those that are too long it hands out nil.
func lines(r io.Reader, each func([]byte)) {
	b := bufio.NewReaderSize(r, maxEntry)
	for {
		line, err := b.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = b.ReadSlice('\n')
			}
			line = nil
			if err == nil {
				each(nil)
			}
		} else if err == nil {
			each(line)
		}
		if err != nil {
			return
		}
	}
}
