package offload

import (
	"encoding/binary"

	"baton/dataplane/buf"
	"baton/dataplane/hdr"
	"baton/dataplane/stats"
)

// MaxSegments is the most segments that one super-segment is cut into: 64 KiB at
// 48 bytes each, the smallest segment that Linux lets a peer ask for
// (tcp_min_snd_mss). Smaller ones would cost the worker more than they bring anybody.
const MaxSegments = 65536 / 48

// Cutter cuts one super-segment into frames. The zero value has none left.
//
//	conc: one goroutine    alloc: 0
type Cutter struct {
	b      *buf.Buf
	reader buf.Reader // of the payload
	head   []byte     // all headers, in b's first segment

	outerIP, ip, tcp int  // offsets in head; outerIP is 0 outside a tunnel
	v6               bool // the (inner) IP header
	flags            uint64
	offload          uint64 // TxOffload of the frames made

	size int // payload bytes of a segment
	left int // payload bytes that are not yet cut
	num  int // segments made

	pseudo uint32 // sum of the pseudo header without the length
}

// Start begins with b, a frame with TxTCPSeg. It stays the caller's and must not
// change until the last segment is made. leave says that the receiver completes
// checksums: then segments are made with the pseudo header's sum and the flags for
// it.
//
//	out: DropNone; DropBadOffload if the lengths do not fit the frame or it would be
//	     more than MaxSegments; DropTooBig if a segment does not fit a buffer. Then
//	     no segment is left.
func (c *Cutter) Start(b *buf.Buf, leave bool) stats.DropReason {
	l := b.Lengths()
	*c = Cutter{b: b, flags: b.OlFlags, size: l.SegSize, v6: b.OlFlags&buf.TxIPv6 != 0}
	c.tcp = l4At(c.flags, l)
	c.ip = c.tcp - l.L3
	end := c.tcp + l.L4
	if c.flags&buf.TxTunnelMask != 0 {
		c.outerIP = l.OuterL2
	}
	if !c.fits(l, end) {
		*c = Cutter{}
		return stats.DropBadOffload
	}
	c.left = b.Len() - end
	if end+min(c.size, c.left) > int(b.BufLen)-buf.Headroom {
		*c = Cutter{}
		return stats.DropTooBig
	}
	c.head = b.Data()[:end]
	c.reader = b.Reader()
	c.reader.Skip(end)
	// The sum that the sender left is of the whole: without its length it is of any segment.
	c.pseudo = uint32(binary.BigEndian.Uint16(c.head[c.tcp+hdr.TCPChecksumAt:])) + uint32(^uint16(b.Len()-c.tcp))
	c.flags &^= txAll
	if leave {
		c.flags |= b.OlFlags & txAll &^ buf.TxTCPSeg
		l.SegSize = 0
		var t buf.Buf
		t.SetLengths(l)
		c.offload = t.TxOffload
	}
	return stats.DropNone
}

// fits reports whether the lengths are of headers that lie in the first segment, and
// the payload is no more than can be cut.
func (c *Cutter) fits(l buf.Lengths, end int) bool {
	b := c.b
	if c.flags&buf.TxTCPSeg == 0 || c.size == 0 || l.L4 < hdr.TCPSize || end > int(b.DataLen) || b.Len() < end || b.Len()-c.tcp > 0xffff {
		return false
	}
	if (b.Len()-end+c.size-1)/c.size > MaxSegments {
		return false
	}
	f := b.Data()
	if c.flags&buf.TxTunnelMask != 0 && (l.OuterL2 == 0 || l.OuterL3 != hdr.IPv4Size || l.L2 < hdr.UDPSize || f[c.outerIP] != 0x45) {
		return false
	}
	if c.v6 {
		return l.L3 >= hdr.IPv6Size
	}
	return l.L3 >= hdr.IPv4Size && int(f[c.ip]&15)*4 == l.L3
}

// Left is the number of segments that are to come.
func (c *Cutter) Left() int {
	switch {
	case c.b == nil:
		return 0
	case c.left == 0 && c.num == 0:
		return 1 // headers alone are a packet too
	}
	return (c.left + c.size - 1) / max(c.size, 1)
}

// Next makes the next segment. It is nil when none is left, or when the cache has no
// buffer: Left tells which, and how many are lost then.
//
//	owner: the caller owns the frame
func (c *Cutter) Next(cache *buf.Cache) *buf.Buf {
	if c.Left() == 0 {
		return nil
	}
	s := cache.Alloc()
	if s == nil {
		return nil
	}
	n := min(c.size, c.left)
	f := s.Append(len(c.head) + n) // Start saw to it that there is room
	copy(f, c.head)
	c.reader.Read(f[len(c.head):])
	c.left -= n
	c.edit(f)
	c.num++
	s.OlFlags, s.TxOffload = c.flags, c.offload
	return s
}

// edit makes the headers of f, which are those of the super-segment, into the next
// segment's.
func (c *Cutter) edit(f []byte) {
	if c.outerIP != 0 {
		c.length4(f[c.outerIP:])
		udp := f[c.outerIP+hdr.IPv4Size:]
		binary.BigEndian.PutUint16(udp[4:], uint16(len(udp))) // its checksum is 0: none
	}
	if c.v6 {
		ip := f[c.ip:]
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-hdr.IPv6Size))
	} else {
		c.length4(f[c.ip:])
	}
	tcp := f[c.tcp:]
	seq := binary.BigEndian.Uint32(tcp[4:]) + uint32(c.num)*uint32(c.size)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	if c.left > 0 {
		tcp[hdr.TCPFlagsAt] &^= hdr.TCPFIN | hdr.TCPPSH
	}
	if c.num > 0 {
		tcp[hdr.TCPFlagsAt] &^= hdr.TCPCWR
	}
	sum := ^hdr.Finish(c.pseudo + uint32(len(tcp))) // folded
	binary.BigEndian.PutUint16(tcp[hdr.TCPChecksumAt:], sum)
	if c.flags&buf.TxL4Mask == 0 {
		binary.BigEndian.PutUint16(tcp[hdr.TCPChecksumAt:], hdr.Finish(hdr.Sum(tcp, 0)))
	}
}

// length4 makes the IPv4 header that ip begins with fit: total length, the next
// identification, checksum.
func (c *Cutter) length4(ip []byte) {
	h := hdr.IPv4(ip)
	binary.BigEndian.PutUint16(h[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(h[4:], binary.BigEndian.Uint16(h[4:])+uint16(c.num))
	h.SetChecksum()
}
