package capture

import (
	"fmt"
	"testing"
)

// However many interfaces come and go, the table stays small, and the one that stays keeps a place.
func TestDirectoryTableIsBounded(t *testing.T) {
	d := newDirectory(rules{{Name: "*"}})
	add := func(index int) {
		d.change(func() {
			d.put(iface{link: link{name: fmt.Sprintf("va%d", index), index: index}, rule: "*", state: StateRecording, ring: sharedRing})
		})
	}
	add(1)
	greatest := 0
	for index := 2; index < 5000; index++ {
		add(index)
		if e := d.entry(sharedRing, d.currentTable(), index, hatypeEther); d.currentTable().Interfaces()[e.id].Index != index {
			t.Fatalf("interface %d has the id of another", index)
		}
		d.vanish(index)
		d.forget(func(string) (int64, bool) { return 0, false })
		greatest = max(greatest, d.currentTable().Len())
	}
	if greatest > 66 {
		t.Errorf("the table grew to %d interfaces, with at most 2 alive", greatest)
	}
	if e := d.entry(sharedRing, d.currentTable(), 1, hatypeEther); d.currentTable().Interfaces()[e.id].Name != "va1" {
		t.Error("the interface that stayed has lost its place")
	}
	if len(d.known) != 1 || len(d.counted) != 0 {
		t.Errorf("%d interfaces and %d counters are remembered, want 1 and 0", len(d.known), len(d.counted))
	}
}

// A reader whose chunk has an old table gets ids of that table.
func TestDirectoryServesOldTable(t *testing.T) {
	d := newDirectory(rules{{Name: "*"}})
	old := d.currentTable()
	d.change(func() {
		d.put(iface{link: link{name: "va1", index: 1}, rule: "*", state: StateRecording, ring: sharedRing})
	})
	for index := 2; d.currentTable() == old; index++ {
		d.change(func() {
			d.put(iface{link: link{name: "vb", index: index}, rule: "*", state: StateRecording, ring: sharedRing})
		})
		d.vanish(index)
		d.forget(func(string) (int64, bool) { return 0, false })
	}
	e := d.entry(sharedRing, old, 1, hatypeEther)
	if got := old.Interfaces()[e.id].Name; got != "va1" {
		t.Errorf("id %d is of %q in the old table, want va1", e.id, got)
	}
}
