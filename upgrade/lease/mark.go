package lease

import (
	"sync/atomic"
	"unsafe"
)

// Marks is the number of marks of a Board.
const Marks = 1024

// Mark is a word that tells how often what its writer keeps has changed, and whether the writer is
// in the middle of something that may change it. Who has a copy of that knows, when the writer has
// died, whether the copy is the last.
//
//	word: revision << 1 | busy
//	conc: safe; Busy from one goroutine at a time
type Mark struct{ word *atomic.Uint64 }

const busy = 1

// Mark is mark i, 0 <= i < Marks. It is valid until Close.
func (b *Board) Mark(i int) Mark {
	at := Words*(cellSize+pulseSize) + 8*i
	// SAFETY: i < Marks is checked by the slice; the page lives until Close, and is aligned.
	return Mark{(*atomic.Uint64)(unsafe.Pointer(&b.mem[at : at+8][0]))}
}

// Change tells of a change. It comes before anybody acts on it.
func (m Mark) Change() { m.word.Add(2) }

// Busy tells that something is under way that others must not rely on, or no longer.
func (m Mark) Busy(on bool) {
	if on {
		m.word.Or(busy)
	} else {
		m.word.And(^uint64(busy))
	}
}

// Revision is how many changes there were. Who makes a copy asks for it before.
func (m Mark) Revision() uint64 { return m.word.Load() >> 1 }

// Last reports whether a copy of this revision is the last, and nothing was under way.
func (m Mark) Last(revision uint64) bool { return m.word.Load() == revision<<1 }
