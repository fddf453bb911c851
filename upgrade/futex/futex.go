// Package futex lets threads of several processes wait for a word of memory that they share.
//
// It is the raw futex(2): whoever changes the word wakes those who wait, and who waits looks at
// the word again, as it may have been woken for nothing.
package futex

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operations of any process (include/uapi/linux/futex.h).
const (
	opWait = 0
	opWake = 1
)

// Wait lets the calling thread sleep while word is still val, until somebody wakes it or limit
// has passed. It may also return for nothing.
func Wait(word *atomic.Uint32, val uint32, limit time.Duration) {
	ts := unix.NsecToTimespec(int64(max(0, limit)))
	// SAFETY: word and ts live until the call returns.
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), opWait, uintptr(val), uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// Wake wakes all who wait for word.
func Wake(word *atomic.Uint32) {
	const all = 1<<31 - 1
	// SAFETY: word lives until the call returns.
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), opWake, all, 0, 0, 0)
}
