package stats

import "sync/atomic"

// Counter is a count with one writer. Load is safe from any goroutine at any
// time; Add only from the owner.
type Counter struct{ v uint64 }

// Load is the count so far.
func (c *Counter) Load() uint64 { return atomic.LoadUint64(&c.v) }

// Restore sets the count to one carried over from another process; it must be
// called before the owner counts.
func (c *Counter) Restore(v uint64) { atomic.StoreUint64(&c.v, v) }
