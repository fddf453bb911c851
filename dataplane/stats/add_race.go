//go:build race

package stats

import "sync/atomic"

// Add adds n, in a way that the race detector can follow.
func (c *Counter) Add(n uint64) { atomic.AddUint64(&c.v, n) }
