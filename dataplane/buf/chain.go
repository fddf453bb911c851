package buf

// Chains: a frame that is larger than one buffer lies in segments.
//
//	head.Next ──> segment.Next ──> ... ──> nil
//
// Invariants of a chain, those of rte_pktmbuf_chain:
//
//   - NbSegs and PktLen of the head count all segments. Those fields of the others
//     mean nothing, but for one that Link has not been told of.
//   - Every segment has Next == nil at the end, and every buffer in a pool or cache
//     has Next == nil and NbSegs == 1: drivers rely on it.
//   - Whoever owns the head owns the chain, and frees it by freeing the head.
//   - Segments behind the head hold 0 or more bytes anywhere in their data rooms.

// Link puts seg, a buffer without segments of its own, behind last, the last segment
// of b's chain (b itself if it has no other). Fill seg first: Link adds its bytes to
// b's. False, and nothing done, if b has as many segments as can be counted.
//
//	owner: seg belongs to the chain now
func (b *Buf) Link(last, seg *Buf) bool {
	if b.NbSegs == 1<<16-1 {
		return false
	}
	last.Next = seg
	b.NbSegs++
	b.PktLen += uint32(seg.DataLen)
	return true
}

// Last is the chain's last segment: b itself if it has no other.
func (b *Buf) Last() *Buf {
	for b.Next != nil {
		b = b.Next
	}
	return b
}

// CopyOut copies the frame's bytes from offset at on to dst and returns how many
// there were: less than len(dst) only at the frame's end.
//
//	alloc: 0
func (b *Buf) CopyOut(at int, dst []byte) int {
	r := b.Reader()
	r.Skip(at)
	return r.Read(dst)
}

// Reader reads a frame from its first byte on, over all segments.
//
//	conc: one goroutine    alloc: 0
type Reader struct {
	seg *Buf
	at  int // bytes of seg that were read
}

// Reader is a Reader of b's frame, valid until the frame is changed.
func (b *Buf) Reader() Reader { return Reader{seg: b} }

// Read copies the next bytes to dst and returns their number: less than len(dst)
// only at the frame's end.
func (r *Reader) Read(dst []byte) (n int) {
	for r.seg != nil {
		k := copy(dst[n:], r.seg.Data()[r.at:])
		n += k
		r.at += k
		if n == len(dst) {
			return n
		}
		r.seg, r.at = r.seg.Next, 0
	}
	return n
}

// Skip passes over the next n bytes, or all that are left.
func (r *Reader) Skip(n int) {
	for r.seg != nil {
		k := min(n, int(r.seg.DataLen)-r.at)
		n -= k
		r.at += k
		if n == 0 {
			return
		}
		r.seg, r.at = r.seg.Next, 0
	}
}
