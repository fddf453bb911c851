package pipeline

import (
	"sync"
	"sync/atomic"

	"baton/dataplane/table"
)

const countersPerPage = 1024

// ruleCounter counts one rule's packets. It outlives its rule: serial says
// whose it is.
type ruleCounter struct {
	serial         atomic.Uint32
	packets, bytes atomic.Uint64
}

// Counters are the packets and bytes of all rules. Workers count by cache entry
// and credit the rules of an entry now and then, so that these are touched
// rarely and may be shared.
//
//	conc: safe for concurrent use
type Counters struct {
	pages atomic.Pointer[[]*[countersPerPage]ruleCounter]

	mu     sync.Mutex // guards what follows
	free   []uint32
	serial uint32
}

// Add credits packets and bytes to a rule; nothing happens if the rule is gone.
// (A rule that replaces a gone one in the very moment may get its last packets.)
func (c *Counters) Add(r table.Ref, packets, bytes uint64) {
	if n := c.at(r); n != nil {
		n.packets.Add(packets)
		n.bytes.Add(bytes)
	}
}

// Load is what was credited to a rule, zero if it is gone.
func (c *Counters) Load(r table.Ref) (packets, bytes uint64) {
	if n := c.at(r); n != nil {
		return n.packets.Load(), n.bytes.Load()
	}
	return 0, 0
}

// at is the rule's counter, nil if the rule is gone.
func (c *Counters) at(r table.Ref) *ruleCounter {
	pages := c.pages.Load()
	if pages == nil || r.Serial == 0 || int(r.Slot/countersPerPage) >= len(*pages) {
		return nil
	}
	n := &(*pages)[r.Slot/countersPerPage][r.Slot%countersPerPage]
	if n.serial.Load() != r.Serial {
		return nil
	}
	return n
}

// take gives a new rule its counters.
func (c *Counters) take() table.Ref {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.free) == 0 {
		c.grow()
	}
	slot := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	c.serial++
	if c.serial == 0 {
		c.serial = 1
	}
	n := &(*c.pages.Load())[slot/countersPerPage][slot%countersPerPage]
	n.packets.Store(0)
	n.bytes.Store(0)
	n.serial.Store(c.serial)
	return table.Ref{Slot: slot, Serial: c.serial}
}

// grow adds a page of counters.
func (c *Counters) grow() {
	var pages []*[countersPerPage]ruleCounter
	if old := c.pages.Load(); old != nil {
		pages = append(pages, *old...)
	}
	first := uint32(len(pages) * countersPerPage)
	pages = append(pages, new([countersPerPage]ruleCounter))
	c.pages.Store(&pages)
	for i := range uint32(countersPerPage) {
		c.free = append(c.free, first+countersPerPage-1-i)
	}
}

// give takes back the counters of a rule that is gone.
func (c *Counters) give(r table.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.at(r); n != nil {
		n.serial.Store(0)
		c.free = append(c.free, r.Slot)
	}
}
