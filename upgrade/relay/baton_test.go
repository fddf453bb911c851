package relay

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Who sees that it has the baton sees the words at which the last owner stopped, each time.
func TestBaton_words(t *testing.T) {
	const turns = 50000
	var b baton
	b.begin(First)
	var both sync.WaitGroup
	var wrong atomic.Uint32
	for side := range Second + 1 {
		both.Go(func() {
			for turn := uint32(side); turn < turns; turn += 2 {
				if !b.await(side, 20*time.Second) {
					t.Errorf("turn %d has not come", turn)
					return
				}
				if turn > 0 && !b.tells(turn) {
					wrong.Add(1)
				}
				b.known.Store(0) // as who takes it from the dead leaves it
				words := make([]uint32, MaxRings)
				for i := range words {
					words[i] = turn + 1
				}
				b.pass(side.Other(), words, int64(turn+1))
			}
		})
	}
	both.Wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d times the baton came before what it says", n, turns)
	}
}

// tells reports whether all that the baton says is of one turn.
func (b *baton) tells(turn uint32) bool {
	words := b.read(MaxRings)
	for _, w := range words {
		if w != turn {
			return false
		}
	}
	return len(words) == MaxRings && b.last.Load() == int64(turn)
}
