package mem

import (
	"baton/dataplane/buf"
	"baton/dataplane/port"
)

// Queue is one queue pair of a Port.
//
//	conc: the worker that polls it
type Queue struct {
	in    *wire
	out   *wire
	waker port.Waker
	fd    int // registered with waker
}

var _ port.Queue = (*Queue)(nil)

// Rx implements port.Queue. Frames wait while c has no buffers; one that is too
// large for c's buffers is dropped.
func (q *Queue) Rx(c *buf.Cache, v *buf.Vec) int { return q.in.popBurst(c, v) }

// Tx implements port.Queue; the buffers go to c.
func (q *Queue) Tx(c *buf.Cache, v *buf.Vec, n int) int {
	for i, b := range v[:n] {
		if !q.out.pushBuf(b) {
			return i
		}
		c.Free(b)
	}
	return n
}

// Attach implements port.Queue.
func (q *Queue) Attach(w port.Waker) {
	if q.waker != nil {
		q.waker.Remove(q.fd)
		q.waker = nil
	}
	if fd := q.in.eventFD(); w != nil && fd >= 0 && w.Add(fd) == nil {
		q.waker, q.fd = w, fd
	}
}

// Arm implements port.Queue.
func (q *Queue) Arm() port.Armed {
	switch {
	case q.in.len() > 0:
		return port.ArmReady
	case q.waker == nil:
		return port.ArmPoll
	case q.in.arm():
		return port.ArmSet
	}
	return port.ArmReady
}

// Disarm implements port.Queue.
func (q *Queue) Disarm() { q.in.disarm() }
