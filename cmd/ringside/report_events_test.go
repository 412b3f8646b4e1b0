package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/hoststate"
)

// TestHeldEvents keeps what a verdict rests on, also where a flood of others came before it.
func TestHeldEvents(t *testing.T) {
	var held heldEvents
	for _, e := range []hoststate.Event{
		{Kind: "conntrack.new"}, {Kind: "conntrack.update"}, {Kind: "conntrack.counts", Data: []byte(`{"new":1,"expired_established":0,"x":1}`)},
		{Kind: "counters", Data: []byte(`{"tcp.retrans":7}`)}, {Kind: "conntrack.counts", Data: []byte(`{"expired_established":0}`)},
		{Kind: "conntrack.counts", Text: "kept", Data: []byte(`{"expired_established":3}`)}, {Kind: "counters", Text: "kept", Data: []byte(`{"conntrack.drop":7}`)},
		{Kind: "conntrack.digest", Text: "kept"},
	} {
		if err := held.add(e); err != nil {
			t.Error(err)
		}
	}
	if len(held.list) != 3 || slices.ContainsFunc(held.list, func(e hoststate.Event) bool { return e.Text != "kept" }) {
		t.Errorf("it holds %+v", held.list)
	}
	for i := range heldCount {
		_ = held.add(hoststate.Event{Kind: "conntrack.destroy", Text: fmt.Sprint(i)})
	}
	_ = held.add(hoststate.Event{Kind: "conntrack.burst", Raw: "x"})
	facts := evidence.Facts{Coverage: evidence.Coverage{Timeline: &evidence.TimelineFacts{Complete: true}}}
	held.into(&facts)
	last := facts.Events[len(facts.Events)-1]
	if len(facts.Events) != heldCount/2+1 || last.Kind != "conntrack.burst" || last.Raw != "" || facts.Coverage.Timeline.Complete {
		t.Errorf("%d events, the last %+v, %+v", len(facts.Events), last, facts.Coverage.Timeline)
	}
	for range 100 {
		_ = held.add(hoststate.Event{Kind: "state.snapshot", Data: []byte(strings.Repeat("x", 1<<20))})
	}
	if held.bytes > heldBytes {
		t.Errorf("it holds %d bytes", held.bytes)
	}
}
