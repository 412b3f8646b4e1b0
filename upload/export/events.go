package export

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Event is something that happened on a source's host. It is written as a systemd Journal Export Block between the packets
// before and after it (draft-ietf-opsawg-pcapng, section 4.7), which tcpdump and capinfos pass over, and tshark shows as a
// frame.
type Event struct {
	At     time.Time // the nearest of 1970 to 2262 is written, in microseconds
	Text   string
	Fields map[string]string // further fields by name: capital letters, digits and '_'
}

// typeJournal is the block type.
const typeJournal = 9

// maxField bounds a field's text, in bytes.
const maxField = 4096

// hostEvent is an event and whose it is.
type hostEvent struct {
	*Event
	ns   int64
	node string
}

// hostEvents are those of all sources, by time.
func hostEvents(sources []Source) (list []hostEvent) {
	for _, s := range sources {
		for i := range s.Events {
			e := &s.Events[i]
			list = append(list, hostEvent{e, nanoseconds(e.At), s.Node})
		}
	}
	slices.SortStableFunc(list, func(a, b hostEvent) int { return cmp.Compare(a.ns, b.ns) })
	return list
}

// nanoseconds of a time since 1970, or what is nearest: bundles may hold anything.
func nanoseconds(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, 0)):
		return 0
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// events writes those that are due before a packet of the time until.
func (o *pcapngOutput) events(until int64) error {
	for len(o.pending) > 0 && o.pending[0].ns <= until {
		if err := o.journal(o.pending[0]); err != nil {
			return err
		}
		o.pending = o.pending[1:]
	}
	return nil
}

// journal writes one block: the lines of a journal entry, as journalctl -o export has them.
func (o *pcapngOutput) journal(e hostEvent) error {
	b := append(o.buf[:0], make([]byte, 8)...)
	line := func(key, value string) {
		value = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(value[:min(len(value), maxField)], "?"))
		b = append(append(append(append(b, key...), '='), value...), '\n')
	}
	line("__REALTIME_TIMESTAMP", strconv.FormatInt(e.ns/1000, 10))
	line("MESSAGE", e.Text)
	line("PRIORITY", "6")
	line("SYSLOG_IDENTIFIER", "ringside")
	if e.node != "" {
		line("_HOSTNAME", e.node)
	}
	names := make([]string, 0, len(e.Fields))
	for name := range e.Fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		line(name, e.Fields[name])
	}
	b = append(b, '\n')
	b = append(b, make([]byte, -len(b)&3)...)
	le := binary.LittleEndian
	le.PutUint32(b, typeJournal)
	le.PutUint32(b[4:], uint32(len(b)+4))
	b = le.AppendUint32(b, uint32(len(b)+4))
	o.buf = b
	_, err := o.w.Write(b)
	return err
}
