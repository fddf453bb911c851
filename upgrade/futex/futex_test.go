package futex_test

import (
	"sync/atomic"
	"testing"
	"time"

	"baton/upgrade/futex"
)

// A thread that waits goes on when the word changes and it is woken, and sees the change.
func TestWake(t *testing.T) {
	var turn atomic.Uint32
	done := make(chan struct{})
	const turns = 2000
	play := func(me uint32) {
		for range turns {
			for {
				now := turn.Load()
				if now%2 == me {
					break
				}
				futex.Wait(&turn, now, time.Minute)
			}
			turn.Add(1)
			futex.Wake(&turn)
		}
		done <- struct{}{}
	}
	go play(0)
	go play(1)
	<-done
	<-done
	if n := turn.Load(); n != 2*turns {
		t.Errorf("%d turns, want %d", n, 2*turns)
	}
}

// Wait returns at once where the word is another, and after limit where nobody wakes.
func TestWaitReturns(t *testing.T) {
	var word atomic.Uint32
	begun := time.Now()
	futex.Wait(&word, 1, time.Minute)
	futex.Wait(&word, 0, -time.Second)
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("waited for %v", took)
	}
	futex.Wait(&word, 0, 20*time.Millisecond)
	if took := time.Since(begun); took < 20*time.Millisecond {
		t.Errorf("waited for %v, want at least 20ms", took)
	}
}
