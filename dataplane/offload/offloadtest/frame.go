// Package offloadtest makes frames that ask for offloads, for tests, and has the
// plain twins of what is done about them.
//
//	frame, complete ── Ask ──> buf.Buf with Tx flags, in a chain if it must be
//	       └───────── Cut ──> the frames that a sender without offloads would send
//
// Only tests call it.
package offloadtest

import (
	"bytes"
	"encoding/binary"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
)

// Layout is where the headers of a frame lie, in bytes from its start.
type Layout struct {
	L3, L4, Payload int
	V6              bool
	Proto           uint8
}

// Locate finds the headers of a whole Ethernet[+VLAN]/IP/TCP|UDP frame; it panics on others.
func Locate(frame []byte) (l Layout) {
	l.L3 = hdr.EthernetSize
	typ := binary.BigEndian.Uint16(frame[12:])
	if typ == hdr.TypeVLAN {
		typ = binary.BigEndian.Uint16(frame[16:])
		l.L3 += hdr.VLANSize
	}
	ip := frame[l.L3:]
	if l.V6 = typ == hdr.TypeIPv6; l.V6 {
		proto, at, _, ok := hdr.IPv6(ip).Upper()
		if !ok {
			panic("offloadtest: bad IPv6 extensions")
		}
		l.Proto, l.L4 = proto, l.L3+at
	} else {
		l.Proto, l.L4 = hdr.IPv4(ip).Proto(), l.L3+hdr.IPv4(ip).HeaderSize()
	}
	switch l.Proto {
	case hdr.ProtoTCP:
		l.Payload = l.L4 + hdr.TCP(frame[l.L4:]).HeaderSize()
	case hdr.ProtoUDP:
		l.Payload = l.L4 + hdr.UDPSize
	default:
		panic("offloadtest: neither TCP nor UDP")
	}
	return l
}

// sumAt is the offset of the L4 checksum.
func (l Layout) sumAt() int {
	if l.Proto == hdr.ProtoTCP {
		return l.L4 + hdr.TCPChecksumAt
	}
	return l.L4 + hdr.UDPChecksumAt
}

// pseudo is the pseudo header's sum for an L4 packet of size bytes.
func (l Layout) pseudo(frame []byte, size int) uint32 {
	ip := frame[l.L3:]
	if l.V6 {
		return hdr.Pseudo(ip[8:24], ip[24:40], l.Proto, size)
	}
	return hdr.Pseudo(ip[12:16], ip[16:20], l.Proto, size)
}

// Ask is frame in buffers of c, with its checksum left to be completed and, if
// segSize is not 0, as a super-segment. Each buffer holds up to room bytes, the first
// all headers. Nil if c runs out.
func Ask(c *buf.Cache, frame []byte, segSize, room int) *buf.Buf {
	l := Locate(frame)
	frame = append([]byte(nil), frame...)
	binary.BigEndian.PutUint16(frame[l.sumAt():], ^hdr.Finish(l.pseudo(frame, len(frame)-l.L4)))
	b := c.Alloc()
	if b == nil {
		return nil
	}
	at := copy(b.Append(min(len(frame), max(room, l.Payload), b.Tailroom())), frame)
	for last := b; at < len(frame); last = last.Next {
		s := c.AllocSegment()
		if s == nil {
			c.Free(b)
			return nil
		}
		at += copy(s.Append(min(len(frame)-at, room, s.Tailroom())), frame[at:])
		b.Link(last, s)
	}
	b.OlFlags = Flags(l, segSize)
	b.SetLengths(buf.Lengths{L2: l.L3, L3: l.L4 - l.L3, L4: l.Payload - l.L4, SegSize: segSize})
	return b
}

// Flags are the Tx flags of such a frame.
func Flags(l Layout, segSize int) uint64 {
	flags := buf.TxIPv4
	if l.V6 {
		flags = buf.TxIPv6
	}
	if l.Proto == hdr.ProtoUDP {
		return flags | buf.TxUDPCksum
	}
	if flags |= buf.TxTCPCksum; segSize != 0 {
		flags |= buf.TxTCPSeg
	}
	return flags
}

// Cut is the naive twin of offload.Cutter: frame, a complete TCP segment, as segments
// of segSize payload bytes, each built field by field with full checksums.
func Cut(frame []byte, segSize int) (out [][]byte) {
	l := Locate(frame)
	payload := frame[l.Payload:]
	for num := 0; num == 0 || len(payload) > 0; num++ {
		n := min(segSize, len(payload))
		f := append(append([]byte(nil), frame[:l.Payload]...), payload[:n]...)
		payload = payload[n:]
		ip, tcp := f[l.L3:], hdr.TCP(f[l.L4:])
		if l.V6 {
			binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-hdr.IPv6Size))
		} else {
			t := hdr.IPv4(ip).Fields()
			t.TotalSize, t.ID = uint16(len(ip)), t.ID+uint16(num)
			hdr.IPv4(ip).Encode(t)
			hdr.IPv4(ip).SetChecksum()
		}
		t := tcp.Fields()
		t.Seq += uint32(num * segSize)
		if len(payload) > 0 {
			t.Flags &^= hdr.TCPFIN | hdr.TCPPSH
		}
		if num > 0 {
			t.Flags &^= hdr.TCPCWR
		}
		tcp.Encode(t)
		tcp.SetChecksum(l.pseudo(f, len(tcp)))
		out = append(out, f)
	}
	return out
}

// Frames is what a receiver that does the rest makes of b, with size bytes of outer
// headers taken off: complete frames, the naive way.
func Frames(b *buf.Buf, outer int) [][]byte {
	f := make([]byte, b.Len())
	b.CopyOut(0, f)
	f = f[outer:]
	if b.OlFlags&buf.TxWork == 0 {
		return [][]byte{f}
	}
	if f = Whole(f); b.OlFlags&buf.TxTCPSeg == 0 {
		return [][]byte{f}
	}
	return Cut(f, b.Lengths().SegSize)
}

// Equal compares TCP or UDP frames. A TCP checksum of 0 and its other form are the same:
// whoever completes one writes the other form, whoever makes one anew does not.
func Equal(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	l := Locate(b)
	if l.Proto != hdr.ProtoTCP || binary.BigEndian.Uint16(a[l.sumAt():]) != 0xffff || binary.BigEndian.Uint16(b[l.sumAt():]) != 0 {
		return bytes.Equal(a, b)
	}
	at := l.sumAt()
	return bytes.Equal(a[:at], b[:at]) && bytes.Equal(a[at+2:], b[at+2:])
}

// Whole is frame with its L4 checksum made, in place.
func Whole(frame []byte) []byte {
	l := Locate(frame)
	l4 := frame[l.L4:]
	if l.Proto == hdr.ProtoTCP {
		hdr.TCP(l4).SetChecksum(l.pseudo(frame, len(l4)))
	} else {
		hdr.UDP(l4).SetChecksum(l.pseudo(frame, len(l4)))
	}
	return frame
}

// TCP is a random whole TCP segment with up to most bytes of payload: over IPv4 or
// IPv6, with options, extensions, a VLAN tag and flags, or without.
func TCP(t *rapid.T, most int) []byte {
	num := func(n int, name string) int { return rapid.IntRange(0, n-1).Draw(t, name) }
	p := hdrtest.Packet{
		EthDst: hdrtest.MAC(num(8, "dst")), EthSrc: hdrtest.MAC(num(8, "src")), Proto: hdr.ProtoTCP,
		SrcPort: uint16(num(65536, "sport")), DstPort: uint16(num(65536, "dport")), TOS: uint8(num(256, "tos")),
	}
	if num(3, "tagged") == 0 {
		p.VLAN = uint16(1 + num(4094, "vlan"))
	}
	if num(2, "v6") == 0 {
		p.Src, p.Dst = hdrtest.IP6(num(8, "from")), hdrtest.IP6(num(8, "to"))
		p.Extensions = [][]byte{nil, {60}, {0, 60}}[num(3, "extensions")]
	} else {
		p.Src, p.Dst = hdrtest.IP4(num(8, "from")), hdrtest.IP4(num(8, "to"))
		p.Options = 4 * num(11, "options")
	}
	options := 4 * num(11, "tcp options")
	p.Payload = make([]byte, options+num(most+1, "payload"))
	seed := byte(num(256, "seed"))
	for i := range p.Payload {
		p.Payload[i] = byte(i*i>>3) + seed
	}
	f := p.Bytes()
	l := Locate(f)
	tcp := hdr.TCP(f[l.L4:])
	h := tcp.Fields()
	h.HeaderSize, h.Flags, h.Seq = hdr.TCPSize+options, uint8(num(256, "flags")), rapid.Uint32().Draw(t, "seq")
	tcp.Encode(h)
	tcp.SetChecksum(l.pseudo(f, len(tcp)))
	return f
}
