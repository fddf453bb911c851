//go:build !amd64

package worker

import (
	"runtime"
	"time"
)

var start = time.Now()

// cycles is nanoseconds where there is no counter that Go code can read.
func cycles() uint64 { return uint64(time.Since(start)) }

// pause gives others a turn.
func pause(uint32) { runtime.Gosched() }

// cyclesPerSecond is the rate of cycles.
func cyclesPerSecond() float64 { return 1e9 }
