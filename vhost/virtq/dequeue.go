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
	frameBad // the ring is to be broken
)

// Dequeue implements Ring.
func (q *queue) Dequeue(c *buf.Cache, v *buf.Vec) int {
	if q.broken.Load() != 0 {
		return 0
	}
	vw := q.use()
	w := &q.window
	w.reset()
	q.format.peek(vw, buf.Burst)
	n, done, bytes := 0, 0, uint64(0)
	for i := range w.chains {
		b := c.Alloc()
		if b == nil {
			q.stats.NoBuffer.Add(1)
			break
		}
		v[n] = b
		q.filled = n + 1
		what := q.readFrame(vw, &w.chains[i], b)
		if what == frameOK {
			bytes += uint64(b.Len())
			n++
		} else {
			c.Free(b)
		}
		q.filled = n
		if what == frameBad {
			break
		}
		done++
	}
	if q.inOrder {
		done = w.fold(done)
	}
	q.finish(vw, done)
	q.notify(vw)
	q.filled = 0
	if n > 0 {
		q.stats.Packets.Add(uint64(n))
		q.stats.Bytes.Add(bytes)
	}
	return n
}

// readFrame copies the frame of chain ch, without its virtio header, into b.
func (q *queue) readFrame(vw *view, ch *chain, b *buf.Buf) verdict {
	descs := q.window.buffers(ch)
	skip := uint32(q.hdrSize)
	for i := range descs {
		if descs[i].Flags&guestmem.DescWrite != 0 {
			q.bad(ReasonWritable)
			return frameBad
		}
		if what := q.readBuffer(vw, &descs[i], &skip, b); what != frameOK {
			return what
		}
	}
	if ch.cut {
		q.stats.TooBig.Add(1)
		return frameDropped
	}
	if b.Len() < minFrame {
		q.stats.ShortFrame.Add(1)
		return frameDropped
	}
	return frameOK
}

// readBuffer appends one buffer to b, less the part of the header that is in it.
func (q *queue) readBuffer(vw *view, d *guestmem.Desc, skip *uint32, b *buf.Buf) verdict {
	for addr, left := d.Addr, d.Len; ; {
		s, ok := vw.cursor.Span(addr, left)
		if !ok {
			q.bad(ReasonBadAddress)
			return frameBad
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
