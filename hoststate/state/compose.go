package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// Bounds of an event's data, in bytes.
const (
	mostData    = 512 << 10
	mostLines   = 48 << 10 // of one section
	mostChanges = 12 << 10 // of lines that a section has more, and as many of those it has less
	mostLine    = 1 << 10
)

// Snapshot is the data of a state.snapshot.
type Snapshot struct {
	TookMS   int64      `json:"took_ms"`
	Quiet    *time.Time `json:"quiet,omitempty"` // when the quiet one was taken that this is compared with; nil: there was none
	Sections []Section  `json:"sections"`
}

// Section is one part of the state. A quiet one has no lines.
type Section struct {
	Name    string   `json:"name"`
	Error   string   `json:"error,omitempty"`    // why it is not there
	Total   int      `json:"total"`              // lines
	Digest  string   `json:"digest,omitempty"`   // the same for the same lines, but for what always moves
	Lines   []string `json:"lines,omitempty"`    // sorted
	LeftOut int      `json:"left_out,omitempty"` // lines for which there was no room

	Added          []string `json:"added,omitempty"`            // lines that the quiet one had not
	Removed        []string `json:"removed,omitempty"`          // lines that only the quiet one had
	ChangesLeftOut int      `json:"changes_left_out,omitempty"` // of both, for which there was no room
	NotCompared    string   `json:"not_compared,omitempty"`     // why there is no difference, although there is a quiet one
}

// compose makes the event of a snapshot.
func compose(now, quiet *snapshot, why string) hoststate.Event {
	e := hoststate.Event{Time: now.began, Kind: Kind, Subject: why}
	for part := 1; ; part *= 2 { // smaller, where JSON makes longer lines of them
		s := now.told(quiet, why, part)
		e.Data, _ = json.Marshal(s) // it is text and numbers
		if len(e.Data) <= mostData {
			e.Text = s.sentence(why)
			return e
		}
	}
}

// told is what is told of a snapshot, in a part of the room.
func (s *snapshot) told(quiet *snapshot, why string, part int) *Snapshot {
	told := &Snapshot{TookMS: s.took.Milliseconds()}
	if quiet != nil {
		told.Quiet = &quiet.began
	}
	for i := range s.sections {
		now := &s.sections[i]
		t := Section{Name: now.name, Total: max(now.total, len(now.shown))}
		if now.err != nil {
			t.Error = now.err.Error()
		} else {
			t.Digest = digest(now.lines())
			if why != Quiet {
				t.Lines, t.LeftOut = fit(now.shown, mostLines/part)
				t.LeftOut += t.Total - len(now.shown)
			}
		}
		if quiet != nil {
			t.compare(now, quiet.section(now.name), mostChanges/part)
		}
		told.Sections = append(told.Sections, t)
	}
	return told
}

func (s *snapshot) section(name string) *section {
	i := slices.IndexFunc(s.sections, func(s section) bool { return s.name == name })
	return &s.sections[i] // all snapshots have the same sections
}

// compare fills in the difference.
func (t *Section) compare(now, quiet *section, room int) {
	if now.err == nil && quiet.err == nil && (!now.whole() || !quiet.whole()) {
		t.NotCompared = errTooMany.Error()
		return
	}
	if now.err != nil || quiet.err != nil {
		if now.err == nil {
			t.NotCompared = "the quiet one lacks it: " + quiet.err.Error()
		}
		return
	}
	added, removed := difference(quiet.lines(), now.lines())
	var more, less int
	t.Added, more = fit(added, room)
	t.Removed, less = fit(removed, room)
	t.ChangesLeftOut = more + less
}

// difference is which lines now has and before has not, and the reverse. A line counts as often as it is there.
func difference(before, now []string) (added, removed []string) {
	count := make(map[string]int, len(before))
	for _, l := range before {
		count[l]++
	}
	for _, l := range now {
		if count[l] > 0 {
			count[l]--
		} else {
			added = append(added, l)
		}
	}
	for _, l := range before {
		if count[l] > 0 {
			count[l]--
			removed = append(removed, l)
		}
	}
	return added, removed
}

// fit returns the first lines that fit into room, each cut to mostLine, and how many do not.
func fit(lines []string, room int) (fitting []string, left int) {
	for i, l := range lines {
		if len(l) > mostLine {
			l = strings.ToValidUTF8(l[:mostLine-3], "") + "..."
		}
		if room -= len(l) + len(`"",`); room < 0 {
			return fitting, len(lines) - i
		}
		fitting = append(fitting, l)
	}
	return fitting, 0
}

// digest is 16 hexadecimal digits.
func digest(lines []string) string {
	h := sha256.New()
	for _, l := range lines {
		h.Write([]byte(l))
		h.Write([]byte{'\n'})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// sentence is such as "the state at the trigger: since 14:03:07 addresses -1, routes -2".
func (s *Snapshot) sentence(why string) string {
	text := map[string]string{Quiet: "a quiet moment's state", Trigger: "the state at the trigger", End: "the state at the window's end"}[why]
	if text == "" {
		text = "the state (" + why + ")"
	}
	var changed, missing []string
	for _, t := range s.Sections {
		if t.Error != "" {
			missing = append(missing, t.Name)
		}
		what := t.Name
		if n := len(t.Added); n > 0 {
			what += fmt.Sprintf(" +%d", n)
		}
		if n := len(t.Removed); n > 0 {
			what += fmt.Sprintf(" -%d", n)
		}
		if n := t.ChangesLeftOut; n > 0 {
			what += fmt.Sprintf(" and %d more", n)
		}
		if what != t.Name {
			changed = append(changed, what)
		}
	}
	switch {
	case s.Quiet == nil && why == Quiet:
	case s.Quiet == nil:
		text += "; there is no quiet one to compare it with"
	case len(changed) == 0:
		text += ": as at " + s.Quiet.UTC().Format(time.TimeOnly)
	default:
		text += ": since " + s.Quiet.UTC().Format(time.TimeOnly) + " " + strings.Join(changed, ", ")
	}
	if len(missing) > 0 {
		text += "; without " + strings.Join(missing, ", ")
	}
	return text
}
