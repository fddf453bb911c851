package guestmem

import (
	"errors"
	"runtime"
	"runtime/debug"
	"unsafe"
)

// ErrFault is the error of Try when guest memory vanished: the front end cut its
// file short, or the kernel could not supply a page.
var ErrFault = errors.New("guest memory is gone (file truncated or no page)")

// Fault tells whether the recovered panic p is a memory fault inside t's mappings.
// Any other panic is a bug and must be raised again.
//
// A worker guards a whole burst with it, one defer a burst:
//
//	defer q.leave(debug.SetPanicOnFault(true))  // leave restores, recovers, asks Fault
func (t *Table) Fault(p any) bool {
	e, ok := p.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok {
		return false
	}
	for _, m := range t.maps {
		base := uintptr(unsafe.Pointer(unsafe.SliceData(m.mem)))
		if e.Addr()-base < uintptr(len(m.mem)) {
			return true
		}
	}
	return false
}

// Try runs f, which touches memory of t, and turns a fault into ErrFault. For the
// control side: f is a closure.
func (t *Table) Try(f func()) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			if !t.Fault(p) {
				panic(p)
			}
			err = ErrFault
		}
	}()
	f()
	return nil
}
