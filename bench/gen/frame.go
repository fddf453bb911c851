package gen

import (
	"encoding/binary"

	"baton/dataplane/hdr"
)

// Sizes, in bytes.
const (
	innerSize   = hdr.EthernetSize + hdr.IPv4Size + hdr.UDPSize // 42
	outerSize   = innerSize + hdr.GeneveFullSize                // 62
	payloadSize = 22
)

// Places in a frame, in bytes from its first.
const (
	dstMACAt  = 2 // the low 32 bits
	srcMACAt  = 8
	ipAt      = hdr.EthernetSize
	sumAt     = ipAt + 10
	srcIPAt   = ipAt + 12
	dstIPAt   = ipAt + 16
	srcPortAt = ipAt + hdr.IPv4Size
	dstPortAt = srcPortAt + 2
	udpSizeAt = srcPortAt + 4 // and the checksum
)

// magic marks our frames; foreign ones have another number there.
const magic = 0xba70

// tag is the last 16 bits of the payload's fixed part.
type tag uint16

func makeTag(stream int, epoch uint8) tag { return tag(stream) | tag(epoch)<<8 }

// firstBit is the bit of a tag that says: the first packet of its flow.
const firstBit = 4

func (t tag) stream() int   { return int(t & 15) }
func (t tag) first() bool   { return t>>firstBit&1 != 0 }
func (t tag) epoch() uint8  { return uint8(t >> 8) }
func (t tag) clean() uint16 { return uint16(t) }

// pattern is what follows the payload's fixed part: byte i of the frame.
func pattern(i int) byte { return byte(i*7 + i>>8) }

// template is a stream's frame of one size, with fields of flow 0, the IPv4 checksum of
// addresses 0.0.0.0, and no number.
type template struct {
	bytes []byte // with tunnel headers
	sum   uint32 // of the inner IPv4 header without addresses, not folded
}

// makeTemplate is a template of a frame of size bytes without the tunnel's headers.
func makeTemplate(f Frame, size int) template {
	at := 0
	if f.Outer != nil {
		at = outerSize
	}
	b := make([]byte, at+size)
	inner := b[at:]
	hdr.Ethernet(inner).Encode(hdr.EthernetFields{Dst: f.DstMAC, Src: f.SrcMAC, Type: hdr.TypeIPv4})
	ip := hdr.IPv4Fields{HeaderSize: hdr.IPv4Size, TotalSize: uint16(size - ipAt), TTL: 64, Proto: hdr.ProtoUDP, Src: f.SrcIP.As4(), Dst: f.DstIP.As4()}
	hdr.IPv4(inner[ipAt:]).Encode(ip)
	clear(inner[sumAt : sumAt+2])
	sum := hdr.Sum(inner[ipAt:srcIPAt], 0)
	hdr.UDP(inner[srcPortAt:]).Encode(hdr.UDPFields{SrcPort: f.SrcPort, DstPort: f.DstPort, Size: uint16(size - srcPortAt)})
	for i := innerSize + payloadSize; i < size; i++ {
		inner[i] = pattern(i)
	}
	if o := f.Outer; o != nil {
		o.encode(b)
	}
	return template{b, sum}
}

// encode writes the tunnel's headers at the head of a frame.
func (o *Outer) encode(b []byte) {
	hdr.Ethernet(b).Encode(hdr.EthernetFields{Dst: o.DstMAC, Src: o.SrcMAC, Type: hdr.TypeIPv4})
	ip := hdr.IPv4(b[ipAt:])
	ip.Encode(hdr.IPv4Fields{HeaderSize: hdr.IPv4Size, TotalSize: uint16(len(b) - ipAt), Frag: hdr.IPv4DontFragment, TTL: 64, Proto: hdr.ProtoUDP,
		Src: o.SrcIP.As4(), Dst: o.DstIP.As4()})
	ip.SetChecksum()
	hdr.UDP(b[srcPortAt:]).Encode(hdr.UDPFields{SrcPort: 0xc000, DstPort: hdr.GenevePort, Size: uint16(len(b) - srcPortAt)})
	hdr.Geneve(b[innerSize:]).EncodeFull(o.VNI, o.Option)
}

// mark writes what tells a packet from all others, behind the headers of the inner frame b.
func mark(b *[MinSize]byte, number, stamp uint64, flow uint32, t tag) {
	binary.LittleEndian.PutUint64(b[innerSize:], number&(1<<48-1)|magic<<48)
	binary.LittleEndian.PutUint64(b[innerSize+8:], stamp)
	binary.LittleEndian.PutUint32(b[innerSize+16:], flow)
	binary.LittleEndian.PutUint16(b[innerSize+20:], t.clean())
}

// seen is what a received frame says of itself.
type seen struct {
	number, stamp uint64
	flow          uint32
	tag           tag
}

// read finds the inner frame in b, with or without a tunnel's headers around it, and what
// mark wrote.
//
//	error: not ok if the frame is none of ours
func read(b []byte) (inner []byte, s seen, ok bool) {
	if len(b) < MinSize {
		return nil, s, false
	}
	if len(b) >= outerSize+MinSize && binary.BigEndian.Uint16(b[dstPortAt:]) == hdr.GenevePort {
		b = b[outerSize:]
	}
	_ = b[MinSize-1]
	number := binary.LittleEndian.Uint64(b[innerSize:])
	if number>>48 != magic {
		return nil, s, false
	}
	return b, seen{
		number: number & (1<<48 - 1), stamp: binary.LittleEndian.Uint64(b[innerSize+8:]),
		flow: binary.LittleEndian.Uint32(b[innerSize+16:]), tag: tag(binary.LittleEndian.Uint16(b[innerSize+20:])),
	}, true
}
