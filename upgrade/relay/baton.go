package relay

import (
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"baton/upgrade/futex"
)

// MaxRings bounds a port's rings: two for each of its queue pairs.
const MaxRings = 64

// baton is one port's in the shared area.
type baton struct {
	owner atomic.Uint32 // 1 + Side
	known atomic.Uint32 // words are those at which the last owner stopped
	last  atomic.Int64  // when it stopped, nanoseconds of the monotonic clock
	_     [48]byte
	words [MaxRings]atomic.Uint32
	_     [192]byte
}

// batonSize is a multiple of two cache lines, which CPUs fetch together.
const batonSize = int(unsafe.Sizeof(baton{}))

// have reports whether side has the baton.
func (b *baton) have(side Side) bool { return b.owner.Load() == 1+uint32(side) }

// begin gives a baton that nobody has had.
func (b *baton) begin(side Side) { b.owner.Store(1 + uint32(side)) }

// pass gives the baton to side, with the words at which its rings stand. Only who has it may.
func (b *baton) pass(to Side, words []uint32, last int64) {
	for i, w := range words {
		b.words[i].Store(w)
	}
	b.last.Store(last)
	b.known.Store(1)
	b.owner.Store(1 + uint32(to))
	futex.Wake(&b.owner)
}

// manyCPUs is a machine where a thread that only looks takes its CPU from nobody.
const manyCPUs = 8

// await waits until side has the baton, or limit has passed; false then. Where CPUs are few it soon
// sleeps: else it may keep the very threads from running that it waits for, and would have used up
// its turn when it is due.
func (b *baton) await(side Side, limit time.Duration) bool {
	spin := spinFor
	if runtime.NumCPU() < manyCPUs {
		spin = lookEvery
	}
	for begun := Now(); ; {
		owner := b.owner.Load()
		if b.have(side) {
			return true
		}
		waited := time.Duration(Now() - begun)
		if waited > limit {
			return false
		}
		if waited > spin {
			futex.Wait(&b.owner, owner, limit-waited+1)
		}
	}
}

// seize takes the baton from a side that is dead. What it left as words is not known to be right.
//
//	out: false if it was our own already
func (b *baton) seize(side Side) bool {
	if !b.owner.CompareAndSwap(1+uint32(side.Other()), 1+uint32(side)) {
		return false
	}
	b.known.Store(0)
	return true
}

// read is where num rings stand; nil if that is not known.
func (b *baton) read(num int) []uint32 {
	if b.known.Load() == 0 {
		return nil
	}
	words := make([]uint32, num)
	for i := range words {
		words[i] = b.words[i].Load()
	}
	return words
}
