package virtq

import (
	"baton/dataplane/buf"
	"baton/vhost/guestmem"
)

// verdict is what became of one chain.
type verdict uint8

const (
	frameOK verdict = iota
	frameDropped
	ringBroken
)

// Dequeue implements Ring.
func (q *Split) Dequeue(c *buf.Cache, v *buf.Vec) int {
	if q.broken.Load() != 0 {
		return 0
	}
	vw := q.use()
	left := min(q.pending(vw), buf.Burst)
	if left == 0 {
		return 0
	}
	n, bytes := 0, uint64(0)
	q.walked = 0
	for ; left > 0 && q.walked < maxWalk; left-- {
		b := c.Alloc()
		if b == nil {
			q.stats.NoBuffer.Add(1)
			break
		}
		v[n] = b
		q.filled = n + 1
		head, what := q.readFrame(vw, b)
		if what == ringBroken {
			c.Free(b)
			break
		}
		vw.ring.SetUsed(q.used, uint32(head), 0)
		q.used++
		q.lastAvail++
		if what == frameOK {
			bytes += uint64(b.Len())
			n++
		} else {
			c.Free(b)
		}
		q.filled = n
	}
	q.filled = n
	q.publish(vw)
	q.filled = 0
	q.stats.Packets.Add(uint64(n))
	q.stats.Bytes.Add(bytes)
	return n
}

// readFrame copies the frame of the next chain, without its virtio header, into b.
// Nothing is offered that would put a meaning into the header, so it is not looked at.
func (q *Split) readFrame(vw *view, b *buf.Buf) (head uint16, what verdict) {
	var d guestmem.Desc
	head, ok := q.begin(vw, q.lastAvail, &d)
	if !ok {
		return head, ringBroken
	}
	skip := uint32(q.hdrSize)
	if d.Flags == 0 {
		q.walked++
		what = q.readBuffer(vw, &d, &skip, b)
	} else {
		what = q.readChain(vw, head, &d, &skip, b)
	}
	if what != frameOK {
		return head, what
	}
	if b.Len() < minFrame {
		q.stats.ShortFrame.Add(1)
		return head, frameDropped
	}
	return head, frameOK
}

// readChain appends the buffers of a chain whose first descriptor is d. A frame in
// more than maxPieces descriptors is dropped without looking at the rest.
func (q *Split) readChain(vw *view, head uint16, d *guestmem.Desc, skip *uint32, b *buf.Buf) verdict {
	it, limit := q.walk(head), q.walked+maxPieces
	for q.next(vw, &it, d) {
		if q.walked > limit {
			q.stats.TooBig.Add(1)
			return frameDropped
		}
		if d.Flags&guestmem.DescWrite != 0 {
			q.Break(ReasonWritable)
			return ringBroken
		}
		if what := q.readBuffer(vw, d, skip, b); what != frameOK {
			return what
		}
	}
	if q.broken.Load() != 0 {
		return ringBroken
	}
	return frameOK
}

// readBuffer appends one buffer to b, less the part of the header that is in it.
func (q *Split) readBuffer(vw *view, d *guestmem.Desc, skip *uint32, b *buf.Buf) verdict {
	for addr, left := d.Addr, d.Len; ; {
		s, ok := vw.cursor.Span(addr, left)
		if !ok {
			q.Break(ReasonBadAddress)
			return ringBroken
		}
		n := uint32(s.Len())
		addr += uint64(n)
		left -= n
		cut := min(*skip, n)
		*skip -= cut
		if n > cut {
			dst := b.Append(int(n - cut))
			if dst == nil {
				q.stats.TooBig.Add(1)
				return frameDropped
			}
			s.Slice(cut, n-cut).Read(dst)
		}
		if left == 0 {
			return frameOK
		}
	}
}

// Discard implements Ring.
func (q *Split) Discard() int {
	if q.broken.Load() != 0 {
		return 0
	}
	vw := q.use()
	left := min(q.pending(vw), buf.Burst)
	n := 0
	for ; n < left; n++ {
		head := vw.ring.AvailEntry(q.lastAvail)
		if uint32(head) >= q.num {
			q.Break(ReasonBadHead)
			break
		}
		vw.ring.SetUsed(q.used, uint32(head), 0)
		q.used++
		q.lastAvail++
	}
	q.publish(vw)
	q.stats.Discarded.Add(uint64(n))
	return n
}
