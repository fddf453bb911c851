//go:build amd64 && go1.26 && !go1.27 && goexperiment.greenteagc && !purego

package slice

import (
	"errors"
	"runtime"
	_ "unsafe" // for go:linkname

	"golang.org/x/sys/unix"
)

// state is what the scheduler holds of the calling goroutine, its thread and its processor.
type state struct {
	g, m       uintptr
	curg, back uintptr // g once more, as the thread knows it; m, as the processor knows it
	id         int32   // of the processor

	schedtick, syscalltick uint32 // calls of the scheduler, system calls
	head, tail             uint32 // of the queue of goroutines
	next                   uintptr
	heap, modified         int64 // when its first timer is due; 0 = none
}

// look fills s.
//
//go:noescape
func look(s *state)

// tick adds one to schedtick.
func tick()

// What Check finds.
var (
	errElsewhere = errors.New("what the scheduler holds of this thread is not where " + known + " has it")
	errUnlike    = errors.New("the scheduler's counts do not change as they do in " + known)
)

const known = "Go 1.26"

// Check reports whether Renew does what it says: whether what is there behaves like the two
// counts and the links between goroutine, thread and processor. The calling goroutine must
// be locked to its thread.
//
//	error: why it does not; nothing here may be called then but by who can do without
func Check() error {
	const tries, want = 1000, 3 // the monitor may take the processor at any time, and others use it
	calls, yields := 0, 0
	for range tries {
		var before, called, yielded state
		look(&before)
		_, _, _ = unix.Syscall(unix.SYS_GETPPID, 0, 0, 0)
		look(&called)
		if !before.linked() || !called.linked() {
			return errElsewhere
		}
		if called.id == before.id && called.schedtick == before.schedtick && called.syscalltick == before.syscalltick+1 {
			calls++
		}
		if yields < want {
			runtime.Gosched()
			look(&yielded)
			if !yielded.linked() {
				return errElsewhere
			}
			if yielded.id == called.id && yielded.schedtick == called.schedtick {
				return errUnlike
			}
			if yielded.id == called.id {
				yields++
			}
		}
		if calls >= want && yields >= want {
			return nil
		}
	}
	return errUnlike
}

// linked reports whether goroutine, thread and processor know each other.
func (s *state) linked() bool {
	return s.curg == s.g && s.back == s.m && s.id >= 0 && int(s.id) < runtime.GOMAXPROCS(0)
}

// Renew gives the calling goroutine a new time slice of 10 ms. Check must have found nothing.
//
//	alloc: 0
func Renew() { tick() }

// Waiting reports whether a goroutine, or a timer that is due, waits for the processor
// that the caller keeps. That is nothing unusual, as others take what waits, unless it stays so.
// It says nothing of the queue that all processors share: nobody waits there for this one.
//
//	alloc: 0
func Waiting() bool {
	var s state
	look(&s)
	if s.head != s.tail || s.next != 0 {
		return true
	}
	now := nanotime()
	return s.heap != 0 && s.heap <= now || s.modified != 0 && s.modified <= now
}

// Yield lets go of the processor, with all that waits for it, and takes one that is free;
// if none is, the goroutine takes its turn.
//
//	alloc: 0
//
// Between the two calls, which are those around any system call, the goroutine has no
// processor: nothing may be done there.
//
//go:nosplit
//go:norace
func Yield() {
	entersyscallblock()
	exitsyscall()
}

// All three are marked in the runtime as used from outside, not to be changed
// (go.dev/issue/67401).

//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

//go:linkname nanotime runtime.nanotime
func nanotime() int64
