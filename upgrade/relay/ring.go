package relay

import (
	"errors"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
)

// ringState is the head of a ring in the shared area; each part has its own two cache lines.
type ringState struct {
	head  atomic.Uint64 // bytes ever written: the writer's
	_     [120]byte
	tail  atomic.Uint64 // bytes ever read: the reader's
	_     [120]byte
	armed atomic.Uint32 // the reader sleeps: wake it
	_     [124]byte
}

const ringHeader = int(unsafe.Sizeof(ringState{}))

// A record is a header of three words, little endian, and the frame behind it, from a multiple
// of 8 bytes on:
//
//	0  u32 frame length; filler: none, go on at the ring's start
//	4  u16 port
//	6  u16 queue
//	8  u64 OlFlags
//	16 u64 TxOffload
const (
	recordHeader = 24
	filler       = 1<<32 - 1
	maxFrame     = 65549 // of an IP packet of 64 KiB with Ethernet header
)

// errRing is for a ring whose content is not what a writer leaves.
var errRing = errors.New("relay: a ring of the other process is damaged")

// ring is one side's view of a ring: frames from one worker to one worker of the other
// process.
//
//	conc: push by its writer alone, next and done by its reader alone
type ring struct {
	state *ringState
	data  []byte // a power of two
	wake  int    // eventfd of the reader
	at    uint64 // the reader's: what next has passed
}

func newRing(mem []byte, wake int) ring {
	// SAFETY: the mapping is longer than the header and aligned, and lives until Close.
	return ring{state: (*ringState)(unsafe.Pointer(&mem[:ringHeader][0])), data: mem[ringHeader:], wake: wake}
}

// empty reports whether all that was written has been read.
func (r *ring) empty() bool { return r.state.head.Load() == r.state.tail.Load() }

// push writes copies of v[:n], for a queue of a port, and returns how many there was room
// for. The buffers stay the caller's.
//
//	alloc: 0
func (r *ring) push(port, queue uint16, v *buf.Vec, n int) (took int) {
	head, tail := r.state.head.Load(), r.state.tail.Load()
	before := head
	for took < n {
		next, ok := r.write(head, tail, port, queue, v[took&(buf.Burst-1)])
		if !ok {
			break
		}
		head = next
		took++
	}
	if head != before {
		r.state.head.Store(head)
		if r.state.armed.Load() != 0 && r.state.armed.Swap(0) != 0 {
			signal(r.wake)
		}
	}
	return took
}

// write writes one record at head; tail is what the reader still needs.
func (r *ring) write(head, tail uint64, port, queue uint16, b *buf.Buf) (next uint64, ok bool) {
	size := uint64(len(r.data))
	need := uint64(recordHeader+b.Len()+7) &^ 7
	at := head & (size - 1)
	if rest := size - at; rest < need {
		if head+rest-tail > size {
			return 0, false
		}
		r.word(at).Store(filler)
		head, at = head+rest, 0
	}
	if head+need-tail > size || b.Len() > maxFrame {
		return 0, false
	}
	r.word(at).Store(uint64(b.Len()) | uint64(port)<<32 | uint64(queue)<<48)
	r.word(at + 8).Store(b.OlFlags)
	r.word(at + 16).Store(b.TxOffload)
	b.CopyOut(0, r.data[at+recordHeader:][:b.Len()])
	return head + need, true
}

func (r *ring) word(at uint64) *atomic.Uint64 {
	// SAFETY: the slice checks the bounds; at is a multiple of 8, and so is the ring's place.
	return (*atomic.Uint64)(unsafe.Pointer(&r.data[at : at+8][0]))
}

// record is one that was read.
type record struct {
	port, queue uint16
	flags, tx   uint64
	frame       []byte // in the ring: valid until done
}

// next is the next record; ok is false if there is none.
//
//	error: errRing
func (r *ring) next() (v record, ok bool, err error) {
	head, size := r.state.head.Load(), uint64(len(r.data))
	if r.at == 0 {
		r.at = r.state.tail.Load()
	}
	for r.at != head {
		left, at := head-r.at, r.at&(size-1)
		if left > size || left&7 != 0 || r.at&7 != 0 {
			return v, false, errRing
		}
		w := r.word(at).Load()
		if w&filler == filler {
			if size-at > left {
				return v, false, errRing
			}
			r.at += size - at
			continue
		}
		length := w & filler
		need := (recordHeader + length + 7) &^ 7
		if length > maxFrame || need > left || need > size-at {
			return v, false, errRing
		}
		v = record{port: uint16(w >> 32), queue: uint16(w >> 48), flags: r.word(at + 8).Load(), tx: r.word(at + 16).Load(),
			frame: r.data[at+recordHeader:][:length:length]}
		r.at += need
		return v, true, nil
	}
	return v, false, nil
}

// done gives the room of all that next has passed back to the writer.
func (r *ring) done() { r.state.tail.Store(r.at) }

// arm asks the writer to wake the reader; false if something is there already.
func (r *ring) arm() bool {
	r.state.armed.Store(1)
	if r.empty() {
		return true
	}
	r.state.armed.Store(0)
	return false
}

// signal adds one to an eventfd, which wakes who waits for it.
func signal(fd int) {
	one := [8]byte{1}
	// Full means that it has been signalled already.
	_, _ = unix.Write(fd, one[:])
}
