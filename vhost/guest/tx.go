package guest

import "errors"

// TxQueue sends frames to the device.
//
//	conc: one goroutine
type TxQueue struct {
	queue
	free     []uint16 // slots, a stack; not used with IN_ORDER
	next     int      // with IN_ORDER: the slot to use next
	out      int      // slots in use
	prepared []uint32 // bytes of each slot's frame, header included, after Prepare
}

// room is the number of free slots.
func (q *TxQueue) room() int { return q.slots - q.out }

// pick takes a free slot; there is one.
func (q *TxQueue) pick() (slot int) {
	q.out++
	if q.inOrder {
		slot = q.next
		q.next = q.after(slot)
		return slot
	}
	slot = int(q.free[len(q.free)-1])
	q.free = q.free[:len(q.free)-1]
	return slot
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
		if q.room() == 0 || len(f)+HdrLen > q.bufSize || (len(f) < q.chain && q.piece == 0) {
			q.Counters.Full++
			break
		}
		slot := q.pick()
		q.move(slot)
		b := q.buffer(slot)
		if hdrs != nil {
			copy(b, hdrs[i][:])
		} else {
			clear(b[:HdrLen])
		}
		n := HdrLen + copy(b[HdrLen:], f)
		q.give(slot, q.lay(slot, n, 0), n, 0)
		q.Counters.Bytes += uint64(len(f))
		sent++
	}
	if sent > 0 {
		q.Counters.Packets += uint64(sent)
		q.publish()
	}
	return sent
}

// ErrBusy is returned where the device must have given all chains back.
var ErrBusy = errors.New("guest: the device has chains of this queue")

// Prepare writes a frame into every buffer, which SendPrepared sends again and again
// without touching it: f fills slot's header and frame and returns the frame's length.
// SendBurst overwrites what was prepared.
//
//	error: ErrBusy
func (q *TxQueue) Prepare(f func(slot int, hdr *Hdr, frame []byte) int) error {
	if q.Pending() > 0 {
		return ErrBusy
	}
	q.prepared = make([]uint32, q.slots)
	for slot := range q.slots {
		b := q.buffer(slot)
		clear(b[:HdrLen])
		n := HdrLen + f(slot, (*Hdr)(b), b[HdrLen:])
		q.prepared[slot] = uint32(n)
		q.lay(slot, n, 0)
	}
	return nil
}

// SendPrepared sends up to n prepared frames and returns how many the ring had room for.
//
//	alloc: 0
func (q *TxQueue) SendPrepared(n int) int {
	q.reclaim()
	n = min(n, q.room())
	if n <= 0 || q.prepared == nil {
		q.Counters.Full++
		return 0
	}
	for range n {
		slot := q.pick()
		size := int(q.prepared[slot])
		q.give(slot, q.pieces(size), size, 0)
		q.Counters.Bytes += uint64(size - HdrLen)
	}
	q.Counters.Packets += uint64(n)
	q.publish()
	return n
}

// reclaim takes back the slots of frames that the device is done with.
func (q *TxQueue) reclaim() {
	for range q.slots {
		if !q.Ready() {
			return
		}
		slot, num, _, bad := q.take()
		if bad || num > q.out {
			continue
		}
		q.out -= num
		if !q.inOrder {
			q.free = append(q.free, uint16(slot))
		}
	}
}

// Pending is the number of frames that the device has not finished with.
func (q *TxQueue) Pending() int {
	q.reclaim()
	return q.out
}
