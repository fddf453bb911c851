package virtq

import (
	"sync/atomic"

	"baton/vhost/eventfd"
)

// EventFD is a slot for an eventfd that a worker signals and the control side
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

// Signal adds one to the eventfd. Whatever the peer does with its flags or its
// counter, this does not wait: see package eventfd, also for the one exception.
//
//	alloc: 0
func (e *EventFD) Signal() Signalled {
	fd := int(e.plus1.Load()) - 1
	if fd < 0 {
		return SignalNone
	}
	switch eventfd.Signal(fd) {
	case eventfd.Sent:
		return SignalSent
	case eventfd.Full:
		return SignalFull
	}
	return SignalBad
}
