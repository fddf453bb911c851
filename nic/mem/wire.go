package mem

import (
	"encoding/binary"
	"fmt"
	"sync"

	"baton/dataplane/buf"

	"golang.org/x/sys/unix"
)

// MaxFrame is the largest frame that a port carries, in bytes: what a buffer of
// the default size holds.
const MaxFrame = 2048

// wire carries frames in one direction, in order.
//
//	conc: safe for concurrent use
type wire struct {
	mu    sync.Mutex
	slots [][MaxFrame]byte
	lens  []int
	head  int // oldest frame
	num   int
	armed bool
	fd    int // eventfd that wakes who armed, -1 if closed
}

func newWire(depth int) (*wire, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("mem: eventfd: %w", err)
	}
	return &wire{slots: make([][MaxFrame]byte, depth), lens: make([]int, depth), fd: fd}, nil
}

// push appends a copy of frame and wakes who waits; false if the wire is full,
// closed, or the frame is too large.
func (w *wire) push(frame []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	slot := w.reserve(len(frame))
	if slot == nil {
		return false
	}
	copy(slot, frame)
	w.commit()
	return true
}

// pushBuf is push with the bytes of all of b's segments.
func (w *wire) pushBuf(b *buf.Buf) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	slot := w.reserve(b.Len())
	if slot == nil {
		return false
	}
	b.CopyOut(0, slot)
	w.commit()
	return true
}

// reserve is the room of the next frame, of size bytes; nil if there is none.
// The caller holds mu.
func (w *wire) reserve(size int) []byte {
	if w.num == len(w.slots) || w.fd < 0 || size > MaxFrame {
		return nil
	}
	at := (w.head + w.num) % len(w.slots)
	w.lens[at] = size
	return w.slots[at][:size]
}

// commit appends what reserve gave room for. The caller holds mu.
func (w *wire) commit() {
	w.num++
	if w.armed {
		w.armed = false
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		// A full eventfd is readable all the same.
		_, _ = unix.Write(w.fd, one[:])
	}
}

// pop calls take with the oldest frame and removes it if take says so; false if
// there was none or it stays. frame is valid during the call.
func (w *wire) pop(take func(frame []byte) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.num == 0 || !take(w.slots[w.head][:w.lens[w.head]]) {
		return false
	}
	w.head = (w.head + 1) % len(w.slots)
	w.num--
	return true
}

// popBurst moves up to a burst of frames to buffers of c.
func (w *wire) popBurst(c *buf.Cache, v *buf.Vec) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(v) && w.num > 0 {
		b := c.Alloc()
		if b == nil {
			break
		}
		if b.SetFrame(w.slots[w.head][:w.lens[w.head]]) {
			v[n] = b
			n++
		} else {
			c.Free(b)
		}
		w.head = (w.head + 1) % len(w.slots)
		w.num--
	}
	return n
}

// eventFD is what becomes readable after arm, -1 if the wire is closed.
func (w *wire) eventFD() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fd
}

// arm asks push for a wake-up; false, and nothing asked, if frames wait.
func (w *wire) arm() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = w.num == 0
	return w.armed
}

func (w *wire) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
}

func (w *wire) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.num
}

// close drops all frames and refuses more.
func (w *wire) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return nil
	}
	fd := w.fd
	w.fd, w.num, w.armed = -1, 0, false
	return unix.Close(fd)
}
