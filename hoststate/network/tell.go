package network

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// maxEvents bounds how many events are told in a second, so that a routing daemon that moves a whole table does not drown what
// else happens. The rest is counted.
const maxEvents = 5000

// teller hands events on, and counts what is not worth one. It has one user.
type teller struct {
	out   hoststate.Sink
	until time.Time      // when the counts are told; zero: there are none
	told  int            // events in this second
	more  map[string]int // events beyond maxEvents, by kind
	pods  quiet
}

// quiet counts what became of quiet interfaces in a second. It is the data of their link.change.
type quiet struct {
	Came      int `json:"came"`
	Gone      int `json:"gone"`
	Changed   int `json:"changed"`
	Addresses int `json:"addresses"` // link-local ones, added and removed
	Routes    int `json:"routes"`    // made by the kernel, added and removed
}

func newTeller(out hoststate.Sink) *teller { return &teller{out: out, more: map[string]int{}} }

func (t *teller) event(e hoststate.Event) {
	t.begin()
	if t.told++; t.told > maxEvents {
		t.more[e.Kind]++
		return
	}
	t.out.Emit(e)
}

func (t *teller) quietLink(known, gone bool) {
	t.begin()
	switch {
	case gone:
		t.pods.Gone++
	case known:
		t.pods.Changed++
	default:
		t.pods.Came++
	}
}

func (t *teller) quiet(c class) {
	t.begin()
	if c == addresses {
		t.pods.Addresses++
	} else {
		t.pods.Routes++
	}
}

func (t *teller) begin() {
	if t.until.IsZero() {
		t.until = time.Now().Add(time.Second)
	}
}

// flush tells the counts when their second is over.
func (t *teller) flush(now time.Time) {
	if t.until.IsZero() || now.Before(t.until) {
		return
	}
	if q := t.pods; q != (quiet{}) {
		e := hoststate.Event{Kind: "link.change", Subject: "quiet", Text: fmt.Sprintf(
			"of quiet interfaces %d came, %d went and %d changed within a second", q.Came, q.Gone, q.Changed)}
		e.Data, _ = json.Marshal(q)
		t.out.Emit(e)
	}
	for _, kind := range slices.Sorted(maps.Keys(t.more)) {
		t.out.Emit(hoststate.Event{Kind: kind, Subject: "many", Data: json.RawMessage(fmt.Sprintf(`{"count":%d}`, t.more[kind])),
			Text: fmt.Sprintf("%d more of %s within a second are not told one by one", t.more[kind], kind)})
	}
	t.until, t.told, t.pods = time.Time{}, 0, quiet{}
	clear(t.more)
}
