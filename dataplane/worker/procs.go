package worker

import (
	"runtime"
	"sync"
)

// spareProcs is how many of Go's processors there must be beyond the workers'.
// A worker that polls, or has just gone to sleep in the kernel, keeps its
// processor for up to 10 ms: without others the control side would wait so long, and
// where workers keep theirs for good, for ever.
const spareProcs = 2

// loops are the workers of all pools: the processors are the whole process's.
var loops struct {
	mu  sync.Mutex
	num int
}

// reserveProcs sees to it that there are enough processors when num more workers run.
func reserveProcs(num int) {
	loops.mu.Lock()
	defer loops.mu.Unlock()
	loops.num += num
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), loops.num+spareProcs))
}

// releaseProcs is told that num workers have ended. The processors stay: to take them
// away would stop the world for nothing.
func releaseProcs(num int) {
	loops.mu.Lock()
	defer loops.mu.Unlock()
	loops.num -= num
}
