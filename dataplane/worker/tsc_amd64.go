package worker

import (
	"sync"
	"time"
)

// cycles reads the time stamp counter: 8 ns, where time.Now takes 40.
//
//go:noescape
func cycles() uint64

// pause gives the core's other hardware thread n turns.
//
//go:noescape
func pause(n uint32)

// cyclesPerSecond is the counter's rate, measured once against the clock over
// two milliseconds: good to about a thousandth, and used for waits and shares only.
var cyclesPerSecond = sync.OnceValue(func() float64 {
	c, t := cycles(), time.Now()
	for time.Since(t) < 2*time.Millisecond {
		pause(16)
	}
	c2, passed := cycles(), time.Since(t)
	if c2 <= c {
		return 1e9
	}
	return float64(c2-c) / passed.Seconds()
})
