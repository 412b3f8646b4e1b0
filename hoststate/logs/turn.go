package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/ringside/ringside/hoststate"
)

// turn reads what is new, oldest file first, at most about one buffer of it. It says whether there is more.
func (l *follower) turn(buf []byte, now time.Time) (more bool) {
	for k := 0; k < len(l.rotated); k++ {
		s := l.rotated[k]
		more, err := l.advance(s, buf, now)
		if more {
			return true // in order: a later file waits
		}
		if err != nil || s.once || now.Sub(s.grown) >= linger || len(l.rotated)-k > maxRotated {
			l.drop(k)
			k--
		}
	}
	if l.now != nil {
		var err error
		more, err = l.advance(l.now, buf, now)
		if errors.Is(err, errTruncated) {
			l.truncated(l.now, now)
			more = true
		} else if err != nil {
			l.blind = fmt.Sprintf("%s: %v: check the disk it is on", l.path, err)
		}
	}
	l.tell(now)
	return more
}

// advance reads one buffer of a file, and says whether there is more. Its error is errTruncated, or says that the file cannot be read.
func (l *follower) advance(s *source, buf []byte, now time.Time) (more bool, err error) {
	i, err := stat(s.f)
	if err != nil || i.size == s.info.size && i.when == s.info.when && s.next() >= i.size {
		return false, err
	}
	if i.size < s.next() {
		return false, errTruncated
	}
	written := time.Unix(0, i.when)
	if written.After(now) {
		written = now
	}
	emitted := false
	n, err := s.read(buf, func(x line) { emitted = l.line(s, x, written) || emitted })
	if err != nil {
		return false, err
	}
	if n > 0 {
		s.grown = now
		l.note(s, now, emitted)
	}
	if s.next() < i.size {
		return true, nil
	}
	s.info.size, s.info.when = i.size, i.when
	return false, nil
}

// note keeps how far the file was read. That of a copy is the business of its original.
func (l *follower) note(s *source, now time.Time, emitted bool) {
	if s.once {
		return
	}
	l.w.places.put(place{Preset: l.preset.Name, Path: l.path, ID: s.info.id, Born: s.info.born, Gen: s.gen,
		From: s.from, Done: s.done, Marked: s.print.at, Mark: s.print.sum(), Seen: now}, now, emitted)
}

// line makes an event of a line if it is worth one and was not emitted before. It says whether it did. The line was written
// at written, or before.
func (l *follower) line(s *source, x line, written time.Time) bool {
	text := clean(x.text)
	was := s.parser.open()
	e, f, ok := s.parser.parse(text, written)
	switch open := s.parser.open(); {
	case !open:
		s.from = x.at + int64(len(x.text)) + x.left + 1
	case !was:
		s.from = x.at
	}
	if !ok || x.at <= s.done {
		return false
	}
	s.done = x.at
	if !l.limit.Allow() {
		l.left++
		return false
	}
	if e.Time.IsZero() {
		e.Time = written.UTC()
	}
	if x.left > 0 {
		e.Text = fmt.Sprintf("%s (the first %s of a line of %s)", e.Text, size(maxLine), size(maxLine+x.left))
	}
	if f == nil {
		f = facts{}
	}
	f["preset"], f["file"], f["id"], f["gen"], f["offset"] = l.preset.Name, l.path, s.info.id, s.gen, x.at
	e.Raw = cut(hoststate.Redact(text), hoststate.MaxRaw)
	l.w.emit(e, f)
	return true
}

// tell says how many events were left out, not more often than each gapEvery.
func (l *follower) tell(now time.Time) {
	if l.left == 0 || now.Sub(l.said) < gapEvery {
		return
	}
	l.said = now
	l.w.gap(l, now, fmt.Sprintf("%d lines of %s were left out: more than %v a second are worth an event; give the preset a narrower match",
		l.left, l.path, l.limit.Limit()), facts{"lines": l.left})
	l.left = 0
}

// emit redacts and bounds an event.
func (w *Watcher) emit(e hoststate.Event, f facts) {
	for name, v := range f {
		if s, ok := v.(string); ok {
			f[name] = hoststate.Redact(s)
		}
	}
	e.Text = cut(hoststate.Redact(e.Text), maxText)
	e.Data, _ = json.Marshal(f) // cannot fail: values of JSON
	w.out.Emit(e)
}

// maxText bounds the sentence of an event, in bytes; Raw has more of the line.
const maxText = 1 << 10

// gap says that something of a log is missing.
func (w *Watcher) gap(l *follower, now time.Time, text string, f facts) {
	if f == nil {
		f = facts{}
	}
	f["preset"], f["file"] = l.preset.Name, l.path
	w.emit(hoststate.Event{Kind: "log.gap", Subject: l.preset.Name, Time: now.UTC(), Text: text}, f)
}

// clean makes text of what may be anything: valid UTF-8 without control characters, which a terminal would obey.
func clean(b []byte) string {
	s := strings.ToValidUTF8(string(bytes.Trim(b, "\x00\r")), "\uFFFD")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' && r != '\r' {
			return '\uFFFD'
		}
		return r
	}, s)
}

// cut shortens s to n bytes, and says so.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..."
}
