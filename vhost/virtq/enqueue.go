package virtq

import (
	"baton/dataplane/buf"
	"baton/vhost/guestmem"
)

// Enqueue implements Ring.
func (q *queue) Enqueue(c *buf.Cache, v *buf.Vec, n int) int {
	if q.broken.Load() != 0 {
		return 0
	}
	vw := q.use()
	q.settle(vw)
	took, bytes := 0, 0
	if vw.log == nil {
		took, bytes = q.writeRun(vw, v, n)
	}
	plain, sent := took, took
	if took < n {
		var more int
		took, more, bytes = q.writeChains(vw, v, took, n, bytes)
		sent += more
	}
	q.show(vw)
	if sent > 0 {
		q.stats.Packets.Add(uint64(sent))
		q.stats.Bytes.Add(uint64(bytes))
	}
	if plain > 0 {
		q.format.ahead(vw, plain) // the next burst is likely to be as long
	}
	c.FreeAll(v, took)
	return took
}

// writeRun writes the first frames of v[:n] that are what nearly all are: in one
// buffer, each into one of a run of plain chains that holds it. It returns how many,
// and their bytes.
func (q *queue) writeRun(vw *view, v *buf.Vec, n int) (done, bytes int) {
	run, _ := q.format.run(vw, guestmem.DescWrite, n)
	hdrSize := q.hdrSize
	for ; done < run; done++ {
		b, s := v[done%buf.Burst], q.plain.Spans[done%buf.Burst]
		need := hdrSize + b.Len()
		if b.NbSegs != 1 || s.Len() < need {
			break
		}
		h := &oneBuffer
		if b.OlFlags != 0 {
			if !q.header(b, 1) {
				break
			}
			h = &q.hdr
		}
		s.PutHeader((*[guestmem.HeaderSize]byte)(h), hdrSize)
		s.Slice(uint32(hdrSize), uint32(need)).Write(b.Data())
		q.written[done%buf.Burst] = uint32(need)
		bytes += b.Len()
	}
	if done > 0 {
		q.format.giveRun(vw, done, guestmem.DescWrite)
	}
	return done, bytes
}

// oneBuffer is the header of a frame without offloads in one chain.
var oneBuffer = NetHeader{10: 1}

// writeChains writes the frames v[from:n], whatever they are, into chains of any kind.
// It returns how many of v[:n] are done with, the number of those written, and the sum
// of their bytes and the bytes before.
func (q *queue) writeChains(vw *view, v *buf.Vec, from, n, before int) (took, sent, bytes int) {
	w := &q.window
	w.reset()
	q.format.peek(vw, n-from)
	r := receive{took: from}
	bytes = before
	for ; r.took < n && r.walked < maxWalk; r.took++ {
		b := v[r.took]
		what := q.writeFrame(vw, &r, b)
		if what == gatherOK {
			sent++
			bytes += b.Len()
		} else if what != gatherDropped {
			break
		}
	}
	q.finish(vw, r.done)
	return r.took, sent, bytes
}

// receive is how far an Enqueue has come.
type receive struct {
	took   int // frames
	done   int // chains of the window that hold whole frames
	chains int // that hold the present frame
	walked int // descriptors looked at
}

type gathered uint8

const (
	gatherOK      gathered = iota
	gatherFull             // not enough chains now
	gatherDropped          // the frame is dropped and counted, the chains stay
	gatherBroken           // the ring is to be broken
)

// writeFrame writes b, with its header, over as many chains as it needs.
func (q *queue) writeFrame(vw *view, r *receive, b *buf.Buf) gathered {
	fit := q.gather(vw, r, b.Len()+q.hdrSize)
	switch {
	case fit == gatherDropped:
		q.stats.TooBig.Add(1)
		return fit
	case fit == gatherFull:
		q.stats.Full.Add(1)
		return fit
	case fit != gatherOK:
		return fit
	case !q.header(b, r.chains):
		q.stats.Unfinished.Add(1)
		return gatherDropped
	}
	q.scatter(b)
	r.done += r.chains
	return gatherOK
}

// gather collects buffers for need bytes, in pieces, out of r.chains chains behind
// the done ones. What the driver sees stays as it is.
func (q *queue) gather(vw *view, r *receive, need int) gathered {
	w := &q.window
	q.pieces = q.pieces[:0]
	limit := r.walked + maxPieces
	for r.chains = 1; ; r.chains++ {
		if r.done+r.chains > len(w.chains) && !q.more(vw, r) {
			if w.why != ReasonNone {
				return gatherBroken
			}
			return gatherFull
		}
		ch := &w.chains[r.done+r.chains-1]
		got, ok := q.gatherChain(vw, r, ch, need, limit)
		switch {
		case !ok:
			return gatherBroken
		case got < need && ch.cut, r.chains == 1 && got < q.hdrSize && q.mergeable:
			q.bad(ReasonTinyBuffers)
			return gatherBroken
		}
		ch.written = uint32(got)
		if need -= got; need == 0 {
			return gatherOK
		}
		if !q.mergeable {
			return gatherDropped
		}
	}
}

// more reads further chains into the window; false if there are none.
func (q *queue) more(vw *view, r *receive) bool {
	w := &q.window
	if w.why != ReasonNone {
		return false
	}
	if !w.room() { // those that hold whole frames make it
		if r.done == 0 {
			return q.bad(ReasonTinyBuffers)
		}
		q.finish(vw, r.done)
		r.done = 0
	}
	before := len(w.chains)
	q.format.peek(vw, buf.Burst)
	return len(w.chains) > before
}

// gatherChain adds up to need bytes of a chain's buffers to pieces. It breaks the
// ring when r.walked passes limit.
func (q *queue) gatherChain(vw *view, r *receive, ch *chain, need, limit int) (got int, ok bool) {
	descs := q.window.buffers(ch)
	for i := range descs {
		if r.walked++; r.walked > limit {
			return 0, q.bad(ReasonTinyBuffers)
		}
		if descs[i].Flags&guestmem.DescWrite == 0 {
			return 0, q.bad(ReasonReadOnly)
		}
		n, ok := q.gatherBuffer(vw, &descs[i], need-got)
		if !ok {
			return 0, false
		}
		if got += n; got == need {
			break
		}
	}
	return got, true
}

// gatherBuffer adds up to need bytes of one buffer to pieces.
func (q *queue) gatherBuffer(vw *view, d *guestmem.Desc, need int) (got int, ok bool) {
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

// header makes q.hdr the header of b, which lies in so many chains; false if the driver
// cannot take b as it is.
func (q *queue) header(b *buf.Buf, chains int) bool {
	if b.OlFlags == 0 && b.NbSegs == 1 {
		q.hdr = NetHeader{10: byte(chains), 11: byte(chains >> 8)}
		return true
	}
	if !q.hdr.Encode(b, q.net, uint16(chains)) || b.NbSegs > 1 && q.hdr[1] == netGSONone {
		return false
	}
	switch {
	case b.OlFlags&buf.TxWork != 0:
		q.countOffload(b)
	case q.hdr[0]&netDataValid != 0:
		q.stats.DataValid.Add(1)
	}
	return true
}

// scatter writes q.hdr and the frame of b over the pieces, which hold exactly that much.
func (q *queue) scatter(b *buf.Buf) {
	at := 0
	s := q.pieces[0]
	write := func(src []byte) {
		for len(src) > 0 {
			if s.Len() == 0 {
				at++
				s = q.pieces[at]
			}
			n := s.Write(src)
			src = src[n:]
			s = s.Slice(uint32(n), uint32(s.Len()))
		}
	}
	if s.PutHeader((*[guestmem.HeaderSize]byte)(&q.hdr), q.hdrSize) {
		s = s.Slice(uint32(q.hdrSize), uint32(s.Len()))
	} else {
		write(q.hdr[:q.hdrSize])
	}
	for seg := b; seg != nil; seg = seg.Next {
		write(seg.Data())
	}
}
