package virtq

import (
	"baton/dataplane/buf"
	"baton/vhost/guestmem"
)

// Enqueue implements Ring.
func (q *Split) Enqueue(c *buf.Cache, v *buf.Vec, n int) int {
	if q.broken.Load() != 0 {
		return 0
	}
	vw := q.use()
	avail := q.pending(vw)
	q.walked = 0
	took, sent, bytes := 0, 0, uint64(0)
	for ; took < n && q.walked < maxWalk; took++ {
		b := v[took]
		fit, chains := q.gather(vw, b.Len()+q.hdrSize, avail)
		if fit == gatherTooBig {
			q.stats.TooBig.Add(1)
			continue
		}
		if fit != gatherOK {
			if fit == gatherFull {
				q.stats.Full.Add(1)
			}
			break
		}
		q.scatter(b, chains)
		for i := range q.heads {
			vw.ring.SetUsed(q.used, q.heads[i].id, q.heads[i].n)
			q.used++
		}
		q.lastAvail += uint16(chains)
		avail -= chains
		sent++
		bytes += uint64(b.Len())
	}
	q.publish(vw)
	q.stats.Packets.Add(uint64(sent))
	q.stats.Bytes.Add(bytes)
	c.FreeAll(v, took)
	return took
}

type gathered uint8

const (
	gatherOK     gathered = iota
	gatherFull            // not enough chains now
	gatherTooBig          // one chain must hold the frame, and does not
	gatherBroken
)

// gather collects buffers for need bytes, in pieces and heads, out of at most avail
// chains. Ring indices stay as they are.
func (q *Split) gather(vw *view, need, avail int) (gathered, int) {
	q.pieces, q.heads = q.pieces[:0], q.heads[:0]
	limit := q.walked + maxPieces
	for chains := 1; ; chains++ {
		if chains > avail {
			return gatherFull, 0
		}
		var d guestmem.Desc
		head, ok := q.begin(vw, q.lastAvail+uint16(chains-1), &d)
		if !ok {
			return gatherBroken, 0
		}
		var got int
		if d.Flags == guestmem.DescWrite {
			q.walked++
			got, ok = q.gatherBuffer(vw, &d, need)
		} else {
			got, ok = q.gatherChain(vw, head, &d, need, limit)
		}
		if !ok {
			return gatherBroken, 0
		}
		if chains == 1 && got < q.hdrSize && q.mergeable || q.walked > limit {
			q.Break(ReasonTinyBuffers)
			return gatherBroken, 0
		}
		q.heads = append(q.heads, usedElem{uint32(head), uint32(got)})
		need -= got
		if need == 0 {
			return gatherOK, chains
		}
		if !q.mergeable {
			return gatherTooBig, 0
		}
	}
}

// gatherChain adds up to need bytes of a chain's buffers to pieces; d is its first
// descriptor. It breaks the ring when q.walked passes limit.
func (q *Split) gatherChain(vw *view, head uint16, d *guestmem.Desc, need, limit int) (got int, ok bool) {
	it := q.walk(head)
	for got < need && q.next(vw, &it, d) {
		if q.walked > limit {
			return 0, q.bad(ReasonTinyBuffers)
		}
		if d.Flags&guestmem.DescWrite == 0 {
			return 0, q.bad(ReasonReadOnly)
		}
		n, ok := q.gatherBuffer(vw, d, need-got)
		if !ok {
			return 0, false
		}
		got += n
	}
	return got, q.broken.Load() == 0
}

// gatherBuffer adds up to need bytes of one buffer to pieces.
func (q *Split) gatherBuffer(vw *view, d *guestmem.Desc, need int) (got int, ok bool) {
	for addr, left := d.Addr, d.Len; ; {
		s, ok := vw.cursor.Span(addr, left)
		if !ok {
			return 0, q.bad(ReasonBadAddress)
		}
		addr += uint64(s.Len())
		left -= uint32(s.Len())
		use := s.Slice(0, uint32(min(s.Len(), need-got)))
		if use.Len() > 0 {
			if len(q.pieces) == maxPieces {
				return 0, q.bad(ReasonTinyBuffers)
			}
			q.pieces = append(q.pieces, use)
			got += use.Len()
		}
		if left == 0 {
			return got, true
		}
	}
}

// scatter writes header and frame of b over the pieces, which hold exactly that much.
func (q *Split) scatter(b *buf.Buf, chains int) {
	at := 0
	s := q.pieces[0]
	if s.PutHeader(q.hdrSize, uint16(chains)) {
		s = s.Slice(uint32(q.hdrSize), uint32(s.Len()))
	} else {
		var hdr [12]byte // little endian, all zero but num_buffers
		hdr[10], hdr[11] = byte(chains), byte(chains>>8)
		for src := hdr[:q.hdrSize]; len(src) > 0; {
			n := s.Write(src)
			src = src[n:]
			s = s.Slice(uint32(n), uint32(s.Len()))
			if s.Len() == 0 && len(src) > 0 {
				at++
				s = q.pieces[at]
			}
		}
	}
	for seg := b; seg != nil; seg = seg.Next {
		for src := seg.Data(); len(src) > 0; {
			if s.Len() == 0 {
				at++
				s = q.pieces[at]
			}
			n := s.Write(src)
			src = src[n:]
			s = s.Slice(uint32(n), uint32(s.Len()))
		}
	}
}
