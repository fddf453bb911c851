package virtq

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// EventFD is a slot for an eventfd that a worker writes and the control side
// changes at any time.
//
//	owner: the descriptor is the control side's, which closes a replaced one only
//	after a Quiesce
type EventFD struct{ plus1 atomic.Int32 }

// Set makes fd the descriptor; -1 means none.
func (e *EventFD) Set(fd int) { e.plus1.Store(int32(fd) + 1) }

// Signalled is what became of a Signal.
type Signalled uint8

// The outcomes of Signal.
const (
	SignalSent Signalled = iota
	SignalNone           // no descriptor: the driver polls
	SignalFull           // the counter is full: a signal is pending already
	SignalBad            // the descriptor does not take signals
)

var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// Signal adds one to the eventfd. The descriptor was made non-blocking when it
// came, so that this does not wait for the peer. A front end (not a guest) that
// takes the flag back and fills the counter makes it wait all the same: see
// vhost/README.md.
func (e *EventFD) Signal() Signalled {
	fd := int(e.plus1.Load()) - 1
	if fd < 0 {
		return SignalNone
	}
	_, err := unix.Write(fd, one)
	switch err {
	case nil:
		return SignalSent
	case unix.EAGAIN:
		return SignalFull
	}
	return SignalBad
}
