package guest

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
		q.give(slot, q.lay(slot, q.bufSize, DescWrite), q.bufSize, DescWrite)
	}
	q.Publish() // before the ring starts: a device may look where the driver is
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
//
//	alloc: 0 once the largest merged frame has been seen
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
	for q.Ready() && len(q.held) < q.slots {
		b := q.nextBuffer()
		if len(b) < HdrLen {
			q.Counters.Bad++
			continue
		}
		hdr = Hdr(b)
		frame = b[HdrLen:]
		if n := hdr.NumBuffers(); q.mergeable && n != 1 {
			if frame, ok = q.merge(frame, n); !ok {
				q.Counters.Bad++
				continue
			}
		}
		q.Counters.Packets++
		q.Counters.Bytes += uint64(len(frame))
		return hdr, frame, true
	}
	return Hdr{}, nil, false
}

// merge is a frame of n buffers, of which the first has a part. A device publishes all
// buffers of a frame at once (virtio 1.2, 5.1.6.4).
func (q *RxQueue) merge(frame []byte, n int) ([]byte, bool) {
	if n == 0 {
		return nil, false
	}
	q.scratch = append(q.scratch[:0], frame...)
	for range n - 1 {
		if !q.Ready() {
			return nil, false
		}
		q.scratch = append(q.scratch, q.nextBuffer()...)
	}
	return q.scratch, true
}

// nextBuffer is what the device wrote into the next used buffer.
func (q *RxQueue) nextBuffer() []byte {
	slot, num, n, bad := q.take()
	switch {
	case bad || len(q.held)+num > q.slots:
		return nil
	case num > 1: // a batch tells the last length only: of no use to a receiver
		q.Counters.Bad++
		for ; num > 1; num-- {
			q.held = append(q.held, uint16((slot-num+1+q.slots)%q.slots))
		}
	}
	q.held = append(q.held, uint16(slot))
	if int(n) > q.bufSize {
		q.Counters.Bad++
		return nil
	}
	return q.buffer(slot)[:n]
}

// refill offers the read buffers again.
func (q *RxQueue) refill() {
	if len(q.held) == 0 {
		return
	}
	for _, slot := range q.held {
		q.move(int(slot))
		k := q.pieces(q.bufSize)
		if q.at != nil {
			k = q.lay(int(slot), q.bufSize, DescWrite)
		}
		q.give(int(slot), k, q.bufSize, DescWrite)
	}
	q.held = q.held[:0]
	q.publish()
}
