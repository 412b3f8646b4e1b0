package pcapng

import "sync"

// Interface is what an Interface Description Block states of one interface.
type Interface struct {
	Name        string `json:"name"`
	Index       int    `json:"index,omitempty"` // the kernel's, 0 if unknown
	Description string `json:"description,omitempty"`
	Filter      string `json:"filter,omitempty"`
}

// Table is the append-only list of the interfaces of one section: an interface's position is its id in the packets.
// A segment has exactly one table. When most of a table's interfaces are gone, capture begins a new one, and rotate a
// new segment with it, so that a table stays small however many interfaces come and go.
//
// All methods may be called concurrently.
type Table struct {
	mu   sync.RWMutex
	list []Interface
}

// Add appends i and returns its id.
func (t *Table) Add(i Interface) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, i)
	return uint32(len(t.list) - 1)
}

// Len is the number of interfaces added so far.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.list)
}

// Interfaces returns those added so far. The caller must not change them.
func (t *Table) Interfaces() []Interface {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.list[:len(t.list):len(t.list)]
}
