package buf

import "unsafe"

// Sizes of packet buffers, in bytes.
const (
	// Headroom lies before the frame in a fresh buffer: room for the outer
	// Ethernet, IPv4, UDP and Geneve headers with our option (62 bytes). It is
	// DPDK's RTE_PKTMBUF_HEADROOM, so that pools of both kinds agree.
	Headroom = 128
	// DefaultDataRoom is headroom plus a frame of 2048 bytes, DPDK's
	// RTE_MBUF_DEFAULT_BUF_SIZE.
	DefaultDataRoom = Headroom + 2048
	// HeaderSize is the size of a Buf: that of an rte_mbuf, two cache lines.
	HeaderSize = 128
)

// Buf is the header of one packet buffer, field by field an rte_mbuf
// (DPDK 22.11, rte_mbuf_core.h). Fields that baton does not use are kept for
// the layout alone.
//
//	owner: whoever holds the pointer    conc: one goroutine at a time
type Buf struct {
	Addr       unsafe.Pointer // start of the data room
	iova       uint64
	DataOff    uint16 // frame start, bytes from Addr
	RefCnt     uint16 // 1 for every buffer in use; C updates it atomically
	NbSegs     uint16 // number of segments (chain.go); more than 1 only with TxTCPSeg
	Port       uint16 // DPDK's ingress port; not the dataplane's port number
	OlFlags    uint64 // offload flags, RTE_MBUF_F_*
	PacketType uint32
	PktLen     uint32 // frame length in bytes, all segments
	DataLen    uint16 // frame length in bytes, this segment
	VlanTCI    uint16
	RSSHash    uint32
	hashHi     uint32
	vlanOuter  uint16
	BufLen     uint16         // size of the data room in bytes
	Pool       unsafe.Pointer // the pool that the buffer returns to
	Next       *Buf           // next segment
	TxOffload  uint64         // l2_len:7, l3_len:9, l4_len:8, tso_segsz:16, outer_l3_len:9, outer_l2_len:7
	shinfo     unsafe.Pointer
	privSize   uint16
	timesync   uint16
	dynfield   [9]uint32
}

// Data is the frame's bytes in this segment. The slice is valid until the
// buffer is given away.
func (b *Buf) Data() []byte {
	// SAFETY: DataOff+DataLen <= BufLen is an invariant of every method here and of every PMD.
	return unsafe.Slice((*byte)(unsafe.Add(b.Addr, b.DataOff)), int(b.DataLen))
}

// Ptr is the address of the frame's first byte.
func (b *Buf) Ptr() unsafe.Pointer {
	// SAFETY: as for Data.
	return unsafe.Add(b.Addr, b.DataOff)
}

// Len is the frame's length in bytes, over all segments.
func (b *Buf) Len() int { return int(b.PktLen) }

// Headroom is the number of free bytes before the frame.
func (b *Buf) Headroom() int { return int(b.DataOff) }

// Tailroom is the number of free bytes behind the frame.
func (b *Buf) Tailroom() int { return int(b.BufLen) - int(b.DataOff) - int(b.DataLen) }

// Reset makes b an empty single-segment buffer with the default headroom.
func (b *Buf) Reset() {
	b.DataOff = min(Headroom, b.BufLen)
	b.NbSegs = 1
	b.Port = 0xffff // RTE_MBUF_PORT_INVALID
	b.OlFlags = 0
	b.PacketType = 0
	b.PktLen = 0
	b.DataLen = 0
	b.Next = nil
	b.TxOffload = 0
}

// fresh are DataOff, RefCnt, NbSegs and Port of a fresh buffer, in one word: DPDK's
// rearm_data. Both our platforms are little endian.
const fresh = Headroom | 1<<16 | 1<<32 | 0xffff<<48

// renew is Reset of a buffer out of a pool or cache, where Next is nil: it writes the
// first cache line alone, in few stores. TxOffload stays; it means nothing without a
// flag in OlFlags.
func (b *Buf) renew() {
	// SAFETY: the four 16-bit fields from DataOff on, 8-aligned (layout.go).
	*(*uint64)(unsafe.Pointer(&b.DataOff)) = fresh
	if b.BufLen < Headroom {
		b.DataOff = b.BufLen
	}
	b.OlFlags = 0
	b.PacketType, b.PktLen = 0, 0
	b.DataLen = 0
}

// Prepend grows the frame by n bytes at its head and returns them, or nil if
// the headroom is too small. The bytes are not cleared. Of a chain it is, as Trim,
// for the head.
func (b *Buf) Prepend(n int) []byte {
	if n > int(b.DataOff) {
		return nil
	}
	b.DataOff -= uint16(n)
	b.DataLen += uint16(n)
	b.PktLen += uint32(n)
	// SAFETY: the n bytes were headroom, which lies in the data room.
	return unsafe.Slice((*byte)(b.Ptr()), n)
}

// Trim takes n bytes off the frame's head; false, and nothing done, if the
// segment is shorter.
func (b *Buf) Trim(n int) bool {
	if n > int(b.DataLen) {
		return false
	}
	b.DataOff += uint16(n)
	b.DataLen -= uint16(n)
	b.PktLen -= uint32(n)
	return true
}

// Append grows a single-segment frame by n bytes at its tail and returns them, or
// nil if the tailroom is too small. The bytes are not cleared.
func (b *Buf) Append(n int) []byte {
	if n > b.Tailroom() {
		return nil
	}
	// SAFETY: the n bytes were tailroom, which lies in the data room.
	p := unsafe.Add(b.Addr, int(b.DataOff)+int(b.DataLen))
	b.DataLen += uint16(n)
	b.PktLen += uint32(n)
	return unsafe.Slice((*byte)(p), n)
}

// Truncate cuts a single-segment frame to n bytes; n must not exceed its length.
func (b *Buf) Truncate(n int) {
	b.DataLen = uint16(n)
	b.PktLen = uint32(n)
}

// SetFrame makes the buffer hold a copy of frame behind the default headroom;
// false, and an empty buffer, if it does not fit.
func (b *Buf) SetFrame(frame []byte) bool {
	b.Reset()
	room := b.Append(len(frame))
	if room == nil {
		return false
	}
	copy(room, frame)
	return true
}
