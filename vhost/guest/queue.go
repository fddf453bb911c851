package guest

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// HdrLen is the size of the virtio-net header of VERSION_1 and MRG_RXBUF devices.
const HdrLen = 12

// Hdr is a virtio-net header (virtio 1.2, 5.1.6) as it lies in memory.
type Hdr [HdrLen]byte

// NumBuffers is the number of receive buffers that the frame takes.
func (h *Hdr) NumBuffers() int { return int(binary.LittleEndian.Uint16(h[10:])) }

// Counters count one queue. Read them when the queue is at rest.
type Counters struct {
	Packets, Bytes uint64 // frames given to, or got from, the device
	Full           uint64 // send bursts that found too little room
	Kicks          uint64 // kicks given
	KicksSpared    uint64 // publishes that the device wanted no kick for
	Calls          uint64 // waits that a call ended
	Bad            uint64 // completions that a device must not make; skipped
}

// queue is what both directions have in common. Slot s owns the descriptors
// s*chain to s*chain+chain-1, or descriptor s with an indirect table, and the
// buffer of bufSize bytes at buf + s*bufSize.
type queue struct {
	*Ring
	Counters Counters

	index    int // of the ring in the device
	chain    int // descriptors a chain
	slots    int
	indirect int // offset of the indirect tables, 0 if unused
	buf      int // offset of slot 0's buffer
	bufSize  int
	bufGPA   uint64 // guest physical address of slot 0's buffer
	tableGPA uint64 // guest physical address of the indirect tables

	kick, call int      // eventfds
	callFile   *os.File // call, for blocking reads
}

// cut is the length of piece i of a buffer that holds n bytes, header included:
// the header alone when there is more than one piece, the rest in even parts.
func cut(i, pieces, n int) int {
	if pieces == 1 {
		return n
	}
	if i == 0 {
		return HdrLen
	}
	n -= HdrLen
	part := n / (pieces - 1)
	if i == pieces-1 {
		return n - part*(pieces-2)
	}
	return part
}

// layChain writes slot's chain for n bytes.
func (q *queue) layChain(slot, n int, flags uint16) {
	addr := q.bufGPA + uint64(slot*q.bufSize)
	at := slot * q.chain
	if q.indirect != 0 {
		at = slot * q.chain * descSize
		q.SetDesc(slot, Desc{Addr: q.tableGPA + uint64(at), Len: uint32(q.chain * descSize), Flags: DescIndirect})
	}
	for i := range q.chain {
		d := Desc{Addr: addr, Len: uint32(cut(i, q.chain, n)), Flags: flags}
		addr += uint64(d.Len)
		if i < q.chain-1 {
			d.Flags |= DescNext
		}
		if q.indirect != 0 {
			d.Next = uint16(i+1) * (d.Flags & DescNext)
			putDesc(q.mem.data[q.indirect+at+i*descSize:], d)
		} else {
			d.Next = uint16(at+i+1) * (d.Flags & DescNext)
			q.SetDesc(at+i, d)
		}
	}
}

// head is the descriptor that a slot's chain begins with.
func (q *queue) head(slot int) uint16 {
	if q.indirect != 0 {
		return uint16(slot)
	}
	return uint16(slot * q.chain)
}

// slot is the slot of a chain by its head; false if no chain begins there.
func (q *queue) slot(head uint32) (int, bool) {
	step := q.chain
	if q.indirect != 0 {
		step = 1
	}
	s := int(head) / step
	return s, head < uint32(q.slots*step) && int(head)%step == 0
}

func (q *queue) buffer(slot int) []byte {
	off := q.buf + slot*q.bufSize
	return q.mem.data[off : off+q.bufSize : off+q.bufSize]
}

// publish makes the pushed chains the device's and kicks it if it wants.
func (q *queue) publish() {
	if !q.Publish() {
		q.Counters.KicksSpared++
		return
	}
	q.Kick()
}

var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// Kick kicks the device.
func (q *queue) Kick() {
	q.Counters.Kicks++
	// A full counter is as good as another kick.
	unix.Write(q.kick, one)
}

// Index is the ring's index in the device.
func (q *queue) Index() int { return q.index }

// Wait blocks until the device has completed something, at most until the
// deadline (zero: for ever). It needs Config.Blocking.
//
//	error: os.ErrDeadlineExceeded; os.ErrClosed after Guest.Close
func (q *queue) Wait(deadline time.Time) error {
	if q.callFile == nil {
		return errors.New("guest: not set up for blocking")
	}
	defer q.DisarmCalls()
	if err := q.callFile.SetReadDeadline(deadline); err != nil {
		return err
	}
	var b [8]byte
	for !q.ArmCalls() {
		if _, err := q.callFile.Read(b[:]); err != nil {
			return err
		}
		q.Counters.Calls++
	}
	return nil
}

// TxQueue sends frames to the device.
//
//	conc: one goroutine
type TxQueue struct {
	queue
	free []uint16 // slots, a stack
}

// SendBurst sends frames in order, each behind its header of hdrs, or behind an
// empty one if hdrs is nil. It returns how many it took: fewer than all when the
// ring is full or a frame is larger than a buffer. The frames are copied.
//
//	alloc: 0
func (q *TxQueue) SendBurst(frames [][]byte, hdrs []Hdr) int {
	q.reclaim()
	sent := 0
	for i, f := range frames {
		if len(q.free) == 0 || len(f)+HdrLen > q.bufSize || len(f) < q.chain {
			q.Counters.Full++
			break
		}
		slot := int(q.free[len(q.free)-1])
		q.free = q.free[:len(q.free)-1]
		b := q.buffer(slot)
		if hdrs != nil {
			copy(b, hdrs[i][:])
		} else {
			clear(b[:HdrLen])
		}
		copy(b[HdrLen:], f)
		q.layChain(slot, HdrLen+len(f), 0)
		q.Push(q.head(slot))
		q.Counters.Bytes += uint64(len(f))
		sent++
	}
	if sent > 0 {
		q.Counters.Packets += uint64(sent)
		q.publish()
	}
	return sent
}

// reclaim takes back the slots of frames that the device is done with.
func (q *TxQueue) reclaim() {
	for range min(q.Completed(), q.slots) {
		id, _ := q.Used()
		slot, ok := q.slot(id)
		if !ok || len(q.free) == q.slots {
			q.Counters.Bad++
			continue
		}
		q.free = append(q.free, uint16(slot))
	}
}

// Pending is the number of frames that the device has not finished with.
func (q *TxQueue) Pending() int {
	q.reclaim()
	return q.slots - len(q.free)
}

// RxQueue receives frames from the device.
//
//	conc: one goroutine
type RxQueue struct {
	queue
	mergeable bool
	held      []uint16 // slots read and not yet offered again
	scratch   []byte   // a frame from several buffers
}

// fill offers all buffers to the device. The buffers of a ring that comes back
// after a reconnect are offered already.
func (q *RxQueue) fill() {
	for slot := range q.slots {
		q.layChain(slot, q.bufSize, DescWrite)
		q.Push(q.head(slot))
	}
}

// RecvBurst receives up to len(dst) frames: dst[i] is cut or grown, within its
// capacity, to frame i, and hdrs[i] gets its header if hdrs is not nil. A frame
// longer than the capacity is cut. It returns the number of frames.
//
//	alloc: 0 once the largest merged frame has been seen
func (q *RxQueue) RecvBurst(dst [][]byte, hdrs []Hdr) int {
	n := 0
	for n < len(dst) {
		hdr, frame, ok := q.next()
		if !ok {
			break
		}
		if hdrs != nil {
			hdrs[n] = hdr
		}
		dst[n] = dst[n][:min(len(frame), cap(dst[n]))]
		copy(dst[n], frame)
		n++
	}
	q.refill()
	return n
}

// Poll calls f for up to limit frames in place; a frame is valid during its call.
// It returns the number of frames.
func (q *RxQueue) Poll(limit int, f func(hdr Hdr, frame []byte)) int {
	n := 0
	for n < limit {
		hdr, frame, ok := q.next()
		if !ok {
			break
		}
		f(hdr, frame)
		n++
	}
	q.refill()
	return n
}

// Discard receives up to limit frames without looking at them beyond the header.
//
//	alloc: 0
func (q *RxQueue) Discard(limit int) int {
	n := 0
	for n < limit {
		if _, _, ok := q.next(); !ok {
			break
		}
		n++
	}
	q.refill()
	return n
}

// next is the next frame, whole; its buffers are offered again by refill.
func (q *RxQueue) next() (hdr Hdr, frame []byte, ok bool) {
	for avail := q.Completed(); avail > 0; avail = q.Completed() {
		b := q.nextBuffer()
		if len(b) < HdrLen {
			q.Counters.Bad++
			continue
		}
		hdr = Hdr(b)
		frame = b[HdrLen:]
		// A device publishes all buffers of a frame at once (virtio 1.2, 5.1.6.4).
		if n := hdr.NumBuffers(); q.mergeable && n != 1 {
			if n == 0 || n > avail {
				q.Counters.Bad++
				continue
			}
			q.scratch = append(q.scratch[:0], frame...)
			for range n - 1 {
				q.scratch = append(q.scratch, q.nextBuffer()...)
			}
			frame = q.scratch
		}
		q.Counters.Packets++
		q.Counters.Bytes += uint64(len(frame))
		return hdr, frame, true
	}
	return Hdr{}, nil, false
}

// nextBuffer is what the device wrote into the next used buffer.
func (q *RxQueue) nextBuffer() []byte {
	id, n := q.Used()
	slot, ok := q.slot(id)
	if !ok || int(n) > q.bufSize || len(q.held) == q.slots {
		q.Counters.Bad++
		return nil
	}
	q.held = append(q.held, uint16(slot))
	return q.buffer(slot)[:n]
}

// refill offers the read buffers again.
func (q *RxQueue) refill() {
	if len(q.held) == 0 {
		return
	}
	for _, slot := range q.held {
		q.Push(q.head(int(slot)))
	}
	q.held = q.held[:0]
	q.publish()
}
