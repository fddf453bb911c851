package handover_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"baton/upgrade/handover"
	"baton/upgrade/wire"
)

// ward is a standby whose keeper's threads do what the test says.
type ward struct {
	s      *handover.Standby
	a      *wire.Conn // the keeper's end
	k      *handover.Keeper
	dead   atomic.Bool
	moves  atomic.Bool
	killed atomic.Int64 // when, in nanoseconds since begun
	begun  time.Time
	ended  chan error
	over   chan struct{} // closed when it has ended
}

const still = 200 * time.Millisecond

// newWard is one that runs.
func newWard(t *testing.T) *ward {
	t.Helper()
	w := makeWard(t)
	w.run(t)
	return w
}

// makeWard is one that does not run yet.
func makeWard(t *testing.T) *ward {
	t.Helper()
	a, b := pair(t)
	w := &ward{a: a, k: handover.NewKeeper(a), ended: make(chan error, 1), over: make(chan struct{})}
	w.moves.Store(true)
	w.s = &handover.Standby{
		Conn: b, Dead: w.dead.Load, Moved: w.moves.Load, Still: still,
		Watch: func(stop <-chan struct{}) { <-stop },
		Kill: func() {
			w.killed.Store(int64(time.Since(w.begun)))
			w.dead.Store(true)
		},
	}
	return w
}

func (w *ward) run(t *testing.T) {
	t.Helper()
	w.begun = time.Now()
	go func() {
		w.ended <- w.s.Run()
		close(w.over)
	}()
	t.Cleanup(func() {
		w.a.Close()
		<-w.over
		w.s.Conn.Close()
	})
}

// beat has the keeper speak until the standby ends.
func (w *ward) beat() {
	for w.k.Beat() == nil {
		select {
		case <-w.over:
			return
		case <-time.After(still / 4):
		}
	}
}

// took is when the standby killed its keeper and took over.
func (w *ward) took(t *testing.T) time.Duration {
	t.Helper()
	if err := <-w.ended; !errors.Is(err, handover.ErrOrphaned) {
		t.Fatalf("the standby ends with %v", err)
	}
	return time.Duration(w.killed.Load())
}

// A keeper that is silent while its threads move is short of CPU or has much to do: it is killed
// only when it has been silent for very long.
func TestStandby_silent(t *testing.T) {
	if at := newWard(t).took(t); at < 9*still {
		t.Errorf("killed after %v", at)
	}
}

// One whose threads stand still is killed, whatever it says, and not before.
func TestStandby_still(t *testing.T) {
	w := newWard(t)
	go w.beat()
	select {
	case err := <-w.ended:
		t.Fatalf("it ended: %v", err)
	case <-time.After(3 * still):
	}
	w.moves.Store(false)
	since := time.Since(w.begun)
	if at := w.took(t); at < since+still/2 {
		t.Errorf("they stood still from %v on, and it was killed after %v", since, at)
	}
}

// One that dies is not killed.
func TestStandby_dead(t *testing.T) {
	w := newWard(t)
	go w.beat()
	w.dead.Store(true)
	if at := w.took(t); at != 0 {
		t.Errorf("killed after %v", at)
	}
}
