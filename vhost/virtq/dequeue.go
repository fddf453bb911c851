package virtq

import (
	"encoding/binary"

	"baton/dataplane/buf"
	"baton/vhost/guestmem"
)

// verdict is what became of one chain.
type verdict uint8

const (
	frameOK verdict = iota
	frameDropped
	frameLater // no buffer: the chain stays
	frameBad   // the ring is to be broken
)

// Dequeue implements Ring.
func (q *queue) Dequeue(c *buf.Cache, v *buf.Vec) int {
	if q.broken.Load() != 0 {
		return 0
	}
	vw := q.use()
	q.settle(vw)
	n, bytes, odd := 0, 0, true
	if vw.log == nil {
		n, bytes, odd = q.readRun(vw, c, v)
	}
	if odd && n < buf.Burst {
		n, bytes = q.readChains(vw, c, v, n, bytes)
	}
	q.show(vw)
	q.filled = 0
	if n > 0 {
		q.stats.Packets.Add(uint64(n))
		q.stats.Bytes.Add(uint64(bytes))
	}
	return n
}

// offloadMask are the bits of a virtio header's first 8 bytes that ask for work:
// NEEDS_CSUM, and any gso_type.
const offloadMask = 0xff00 | netNeedsCsum

// readRun fills v from a run of plain chains, as far as they hold frames that are
// neither too short nor too long for a buffer, and gives these back; odd tells whether
// the chain behind them is another. A frame that is dropped ends the run too.
func (q *queue) readRun(vw *view, c *buf.Cache, v *buf.Vec) (n, bytes int, odd bool) {
	run, odd := q.format.run(vw, 0, buf.Burst)
	got := c.AllocBurst(v, run)
	if got < run {
		q.stats.NoBuffer.Add(1)
		odd = false
	}
	q.filled = got
	done, hdrSize := 0, q.hdrSize
	for ; done < got; done++ {
		b, s := v[done%buf.Burst], q.plain.Spans[done%buf.Burst]
		size := s.Len() - hdrSize
		if size < minFrame || size > b.Tailroom() {
			odd = true
			break
		}
		lo, hi := s.Header(hdrSize)
		s.Slice(uint32(hdrSize), uint32(size)).Read(b.Append(size))
		if lo&offloadMask != 0 && !q.readOffload(b, lo, hi) {
			odd = false
			done++
			break
		}
		n++
		bytes += size
	}
	for i := n; i < got; i++ {
		c.Free(v[i%buf.Burst])
	}
	q.filled = n
	if done > 0 {
		q.format.giveRun(vw, done, 0)
	}
	return n, bytes, odd
}

// readOffload gives b what its header's bytes ask for; false if it is dropped.
func (q *queue) readOffload(b *buf.Buf, lo uint64, hi uint32) bool {
	binary.LittleEndian.PutUint64(q.hdr[:], lo)
	binary.LittleEndian.PutUint32(q.hdr[8:], hi)
	return q.decode(b) == frameOK
}

// readChains is readRun for chains of any kind, after a run that left n frames in v:
// what it cannot take is dropped and counted, or breaks the ring.
//
//	out: the sums, with those before
func (q *queue) readChains(vw *view, c *buf.Cache, v *buf.Vec, n, bytes int) (int, int) {
	w := &q.window
	w.reset()
	q.format.peek(vw, buf.Burst-n)
	done := 0
	for i := range w.chains {
		b := c.Alloc()
		if b == nil {
			q.stats.NoBuffer.Add(1)
			break
		}
		v[n] = b
		q.filled = n + 1
		if what := q.readFrame(vw, c, &w.chains[i], b); what == frameOK {
			bytes += b.Len()
			n++
		} else {
			q.filled = n
			c.Free(b)
			if what > frameDropped {
				break
			}
		}
		if done++; bytes > maxBytes {
			break
		}
	}
	if q.inOrder {
		done = w.fold(done)
	}
	q.finish(vw, done)
	return n, bytes
}

// readFrame copies the frame of chain ch, without its virtio header, into b, and gives
// b what the header asks for. The header is read once and judged by that copy.
func (q *queue) readFrame(vw *view, c *buf.Cache, ch *chain, b *buf.Buf) verdict {
	if what := q.readChain(vw, c, ch, b); what != frameOK {
		return what
	}
	return q.decode(b)
}

// decode gives b what the header q.hdr asks for.
func (q *queue) decode(b *buf.Buf) verdict {
	switch q.hdr.Decode(b, q.net) {
	case HeaderBad:
		q.stats.BadHeader.Add(1)
		return frameDropped
	case HeaderTooBig:
		q.stats.TooBig.Add(1)
		return frameDropped
	}
	if b.OlFlags&buf.TxWork != 0 {
		q.countOffload(b)
	}
	return frameOK
}

// countOffload counts a frame with buf.TxWork.
func (q *queue) countOffload(b *buf.Buf) {
	if b.OlFlags&buf.TxTCPSeg != 0 {
		q.stats.GSO.Add(1)
	} else {
		q.stats.PartialCsum.Add(1)
	}
}

// reader is how far readChain has come.
type reader struct {
	head   *buf.Buf
	last   *buf.Buf // segment that is filled
	header int      // bytes of q.hdr that were read
}

// readChain reads a chain piece by piece: header first, then the frame, into b and as
// many further segments as a super-segment needs.
func (q *queue) readChain(vw *view, c *buf.Cache, ch *chain, b *buf.Buf) verdict {
	descs := q.window.buffers(ch)
	r := reader{head: b, last: b}
	q.hdr = NetHeader{}
	for i := range descs {
		d := &descs[i]
		if d.Flags&guestmem.DescWrite != 0 {
			q.bad(ReasonWritable)
			return frameBad
		}
		for addr, left := d.Addr, d.Len; ; {
			s, ok := vw.cursor.Span(addr, left)
			if !ok {
				q.bad(ReasonBadAddress)
				return frameBad
			}
			addr += uint64(s.Len())
			left -= uint32(s.Len())
			if what := q.readPiece(c, &r, s); what != frameOK {
				return what
			}
			if left == 0 {
				break
			}
		}
	}
	switch {
	case ch.cut:
		q.stats.TooBig.Add(1)
		return frameDropped
	case b.Len() < minFrame:
		q.stats.ShortFrame.Add(1)
		return frameDropped
	}
	return frameOK
}

// readPiece takes what is left of the header out of s, and appends the rest to the frame.
func (q *queue) readPiece(c *buf.Cache, r *reader, s guestmem.Span) verdict {
	if r.header < q.hdrSize {
		n := s.Read(q.hdr[r.header:q.hdrSize])
		r.header += n
		s = s.Slice(uint32(n), uint32(s.Len()))
	}
	for s.Len() > 0 {
		n := min(s.Len(), r.last.Tailroom())
		if n == 0 {
			if what := q.extend(c, r); what != frameOK {
				return what
			}
			continue
		}
		s.Read(r.last.Append(n))
		if r.last != r.head {
			r.head.PktLen += uint32(n)
		}
		s = s.Slice(uint32(n), uint32(s.Len()))
	}
	return frameOK
}

// extend gives the frame another segment, if it is one that may have several.
func (q *queue) extend(c *buf.Cache, r *reader) verdict {
	if q.hdr[1] == netGSONone || q.net&(NetHostTSO4|NetHostTSO6) == 0 || r.head.Len() > maxFrame {
		q.stats.TooBig.Add(1)
		return frameDropped
	}
	seg := c.AllocSegment()
	if seg == nil {
		q.stats.NoBuffer.Add(1)
		return frameLater
	}
	r.head.Link(r.last, seg)
	r.last = seg
	return frameOK
}
