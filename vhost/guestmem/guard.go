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
	for _, m := range t.maps {
		if m.holds(p) {
			return true
		}
	}
	return false
}

// holds tells whether the recovered panic p is a memory fault inside m.
func (m *Mapping) holds(p any) bool {
	e, ok := p.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok {
		return false
	}
	base := uintptr(unsafe.Pointer(unsafe.SliceData(m.mem)))
	return e.Addr()-base < uintptr(len(m.mem))
}

// Try runs f, which touches memory of t, and turns a fault into ErrFault. For the
// control side: f is a closure.
func (t *Table) Try(f func()) error { return Guard(f, t.Fault) }

// Guard runs f and turns a panic that one of ours knows as its own into ErrFault; any
// other panic passes. For the control side.
func Guard(f func(), ours ...func(p any) bool) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		p := recover()
		if p == nil {
			return
		}
		for _, own := range ours {
			if own(p) {
				err = ErrFault
				return
			}
		}
		panic(p)
	}()
	f()
	return nil
}
