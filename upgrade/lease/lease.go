package lease

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"baton/upgrade/futex"
)

// Bits of a word (include/uapi/linux/futex.h).
const (
	waiters = 0x80000000
	died    = 0x40000000
	tidMask = 0x3fffffff
)

// Lease is a word that the calling thread holds.
//
//	conc: the thread that held it
type Lease struct {
	c    *cell
	h    *head
	tid  uint32
	ours []byte // of the thread's list, if it had none
}

// ErrHeld is the error of Hold for a lease whose holder is alive.
var ErrHeld = errors.New("lease: held by a thread that is alive")

// errThread is for a Lease on another thread.
var errThread = errors.New("lease: another thread holds it")

// Hold takes lease i, 0 <= i < Words, for the calling thread, which the goroutine has locked
// (runtime.LockOSThread): one that nobody holds, or whose holder died. A thread that ends
// with it has died.
//
//	error: ErrHeld; a kernel or C library without robust futexes
func (b *Board) Hold(i int) (*Lease, error) {
	c := b.cell(i)
	l := &Lease{c: c, tid: uint32(unix.Gettid())}
	var err error
	if l.h, l.ours, err = threadHead(); err != nil {
		return nil, err
	}
	// Should the thread die before the node is in its list, the kernel looks here.
	l.h.pending = uintptr(unsafe.Pointer(&c.node))
	was := c.word.Load()
	held := alive(was) || !c.word.CompareAndSwap(was, l.tid|was&waiters)
	if !held {
		c.link(l.h)
	}
	l.h.pending = 0
	if held {
		return nil, errors.Join(ErrHeld, dropHead(l.ours))
	}
	return l, nil
}

// Free gives the lease up; who waits is woken.
//
//	error: another thread's; then nothing was done
func (l *Lease) Free() error {
	if uint32(unix.Gettid()) != l.tid {
		return errThread
	}
	// Dead in between, the thread has died with the lease, not freed it.
	l.h.pending = uintptr(unsafe.Pointer(&l.c.node))
	l.c.unlink(l.h)
	l.let()
	l.h.pending = 0
	return dropHead(l.ours)
}

// let frees the word.
func (l *Lease) let() {
	if l.c.word.Swap(0)&waiters != 0 {
		futex.Wake(&l.c.word)
	}
}

// State is what a lease tells.
type State struct {
	Holder int  // thread id; 0: nobody alive
	Died   bool // the holder did not free it
}

// State is that of lease i now.
func (b *Board) State(i int) State {
	w := b.cell(i).word.Load()
	if !alive(w) {
		return State{Died: w&died != 0}
	}
	return State{Holder: int(w & tidMask)}
}

func alive(w uint32) bool { return w&died == 0 && w&tidMask != 0 }

// Wait returns once nobody alive holds lease i, or after limit, with its state. The calling
// thread sleeps.
func (b *Board) Wait(i int, limit time.Duration) State {
	c := b.cell(i)
	for end := time.Now().Add(limit); ; {
		w := c.word.Load()
		left := time.Until(end)
		if !alive(w) || left <= 0 {
			return b.State(i)
		}
		if w&waiters == 0 {
			if !c.word.CompareAndSwap(w, w|waiters) {
				continue
			}
			w |= waiters
		}
		futex.Wait(&c.word, w, left) // woken, timed out or too late: the word tells
	}
}

// String is for people.
func (s State) String() string {
	switch {
	case s.Holder != 0:
		return fmt.Sprintf("held by thread %d", s.Holder)
	case s.Died:
		return "its holder died"
	}
	return "free"
}
