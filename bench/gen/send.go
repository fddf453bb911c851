package gen

import (
	"encoding/binary"

	"baton/dataplane/buf"
	"baton/nic/dpdk"
)

// varying is how one field follows a flow's number: base plus some of its bits.
type varying struct {
	base        uint32
	mask, shift uint32
}

func (v varying) of(flow uint32) uint32 { return v.base + flow>>(v.shift&31)&v.mask }

// writer makes a stream's frames.
type writer struct {
	templates []template // in turn
	at        int        // of the inner frame, in a template
	macs      bool       // MAC addresses differ too
	vary      [6]varying // in fields' order
	tag       tag
	number    uint64 // of the next frame
	turn      int    // of its template
}

// newWriter is the writer of stream number id, which withDefaults has checked.
func newWriter(s Stream, id int) *writer {
	w := &writer{tag: makeTag(id, 0)}
	for _, size := range s.sizes() {
		w.templates = append(w.templates, makeTemplate(s.Frame, size))
	}
	if s.Frame.Outer != nil {
		w.at = outerSize
	}
	src, dst := s.Frame.SrcIP.As4(), s.Frame.DstIP.As4()
	for i, base := range []uint32{
		binary.BigEndian.Uint32(s.Frame.DstMAC[2:]), binary.BigEndian.Uint32(s.Frame.SrcMAC[2:]),
		binary.BigEndian.Uint32(src[:]), binary.BigEndian.Uint32(dst[:]), uint32(s.Frame.SrcPort), uint32(s.Frame.DstPort),
	} {
		w.vary[i].base = base
		for _, v := range s.Flows.Vary {
			if v.Field == fields[i] {
				w.vary[i].mask, w.vary[i].shift = 1<<v.Bits-1, uint32(v.Shift)
				w.macs = w.macs || i < 2
			}
		}
	}
	return w
}

// restart counts frames from 0 again, as those of an epoch.
func (w *writer) restart(epoch uint8) {
	w.tag = makeTag(w.tag.stream(), epoch)
	w.number, w.turn = 0, 0
}

// writeBurst makes each of v[:n], empty buffers with room, the stream's next frames, and
// returns n, or how many came before one without room. Frame i belongs to flows[i]; bit i
// of firsts says that it is its flow's first.
//
//	alloc: 0
func (w *writer) writeBurst(v *buf.Vec, flows *[buf.Burst]uint32, n int, firsts uint32, now uint64) int {
	number, turn := w.number, w.turn
	for i := range n {
		from := w.templates[turn]
		if turn++; turn == len(w.templates) {
			turn = 0
		}
		to := v[i&(buf.Burst-1)].Append(len(from.bytes))
		if len(to) < MinSize {
			n = i
			break
		}
		flow := flows[i&(buf.Burst-1)]
		t := w.tag | tag(firsts>>(i&31)&1)<<firstBit
		if w.at != 0 {
			w.tunnel(to, from.bytes, flow)
			to, from.bytes = to[w.at:], from.bytes[w.at:]
		}
		if len(to) > MinSize {
			copy(to[MinSize:], from.bytes[MinSize:])
		}
		head := (*[MinSize]byte)(to)
		w.address(head, (*[MinSize]byte)(from.bytes), flow, from.sum)
		mark(head, number, now, flow, t)
		number++
	}
	w.number, w.turn = number, turn
	return n
}

// tunnel writes the outer headers, whose source port, of 14 bits (RFC 8926 3.3), follows
// from the flow alone.
func (w *writer) tunnel(to, from []byte, flow uint32) {
	copy(to[:outerSize], from[:outerSize])
	binary.BigEndian.PutUint16(to[srcPortAt:], uint16(0xc000|flow*0x9e3779b1>>18))
}

// address writes the headers of a flow, out of those of a template: what does not differ
// in three words, then what does.
func (w *writer) address(to, from *[MinSize]byte, flow, sum uint32) {
	a, b, c := binary.LittleEndian.Uint64(from[0:]), binary.LittleEndian.Uint64(from[8:]), binary.LittleEndian.Uint64(from[16:])
	binary.LittleEndian.PutUint64(to[0:], a)
	binary.LittleEndian.PutUint64(to[8:], b)
	binary.LittleEndian.PutUint64(to[16:], c)
	if w.macs {
		binary.BigEndian.PutUint32(to[dstMACAt:], w.vary[0].of(flow))
		binary.BigEndian.PutUint32(to[srcMACAt:], w.vary[1].of(flow))
	}
	src, dst := w.vary[2].of(flow), w.vary[3].of(flow)
	sum += src>>16 + src&0xffff + dst>>16 + dst&0xffff
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(to[sumAt:], ^uint16(sum))
	binary.BigEndian.PutUint32(to[srcIPAt:], src)
	binary.BigEndian.PutUint32(to[dstIPAt:], dst)
	binary.BigEndian.PutUint32(to[srcPortAt:], w.vary[4].of(flow)<<16|w.vary[5].of(flow)&0xffff)
	binary.LittleEndian.PutUint32(to[udpSizeAt:], binary.LittleEndian.Uint32(from[udpSizeAt:]))
}

// sender is one stream at work.
//
//	conc: the engine's thread    alloc: 0
type sender struct {
	*writer
	spec  Stream
	queue *dpdk.Queue
	cache *buf.Cache
	pick  *picker
	pace  pacer

	v       *buf.Vec // off the heap; [0:waiting] is made and was not taken yet
	waiting int
	flows   [buf.Burst]uint32

	held    bool // the end took less than all since the last take of the pacer's
	sent    uint64
	refused uint64 // given up since the end took nothing
}

// restart begins an epoch.
func (s *sender) restart(now uint64, epoch uint8, hz uint64) {
	s.drop()
	s.writer.restart(epoch)
	s.pace.start(now, s.spec.Rate, hz)
	s.pick.fresh.start(now, s.spec.Flows.New, hz)
	s.pick.base = s.pick.newest
	s.sent, s.refused, s.held = 0, 0, false
}

// drop frees what was not taken.
func (s *sender) drop() {
	s.cache.FreeAll(s.v, s.waiting)
	s.waiting = 0
}

// turn sends what is due.
func (s *sender) turn(now uint64) {
	if s.waiting == 0 {
		before := s.pace.gaveUp
		n := s.pace.take(now, s.spec.Least, s.spec.Burst)
		if s.held {
			s.refused += s.pace.gaveUp - before
		}
		if n == 0 {
			return
		}
		s.fill(n, now)
		s.held = false
	} else {
		s.refused += s.pace.wait(now)
		s.held = true
	}
	took := s.queue.Tx(s.cache, s.v, s.waiting)
	s.sent += uint64(took)
	if s.waiting -= took; s.waiting > 0 && took > 0 {
		copy(s.v[:], s.v[took:])
	}
}

// fill makes n frames, fewer if buffers are short.
func (s *sender) fill(n int, now uint64) {
	got := s.cache.AllocBurst(s.v, n)
	if got < n {
		s.pace.untake(n - got)
	}
	firsts := s.pick.pick(&s.flows, got, now)
	s.waiting = s.writeBurst(s.v, &s.flows, got, firsts, now)
	for i := s.waiting; i < got; i++ {
		s.cache.Free(s.v[i&(buf.Burst-1)])
	}
}
