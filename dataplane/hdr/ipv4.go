package hdr

import "encoding/binary"

// IPv4Size is the size of an IPv4 header without options, in bytes (RFC 791).
const IPv4Size = 20

// IP protocol numbers.
const (
	ProtoICMP   uint8 = 1
	ProtoTCP    uint8 = 6
	ProtoUDP    uint8 = 17
	ProtoICMPv6 uint8 = 58
)

// Flags of the IPv4 header, in IPv4Fields.Frag.
const (
	IPv4DontFragment  uint16 = 0x4000
	IPv4MoreFragments uint16 = 0x2000
	IPv4OffsetMask    uint16 = 0x1fff // fragment offset in units of 8 bytes
)

// IPv4 is an IPv4 packet from its first byte on.
type IPv4 []byte

// IPv4Fields are the fields of an IPv4 header. Options are not among them.
type IPv4Fields struct {
	HeaderSize int // bytes; 20 to 60, a multiple of 4
	TOS        uint8
	TotalSize  uint16 // bytes
	ID         uint16
	Frag       uint16 // flags and fragment offset
	TTL        uint8
	Proto      uint8
	Checksum   uint16
	Src, Dst   [4]byte
}

// Valid reports whether version and lengths fit the slice: header and payload lie in it.
func (h IPv4) Valid() bool {
	if len(h) < IPv4Size || h[0]>>4 != 4 {
		return false
	}
	return h.HeaderSize() >= IPv4Size && h.TotalSize() >= h.HeaderSize() && h.TotalSize() <= len(h)
}

// HeaderSize is the header's length in bytes, options included.
func (h IPv4) HeaderSize() int { return int(h[0]&15) * 4 }

// TotalSize is the packet's length in bytes, header included.
func (h IPv4) TotalSize() int { return int(binary.BigEndian.Uint16(h[2:4])) }

// Frag is the flags and the fragment offset.
func (h IPv4) Frag() uint16 { return binary.BigEndian.Uint16(h[6:8]) }

// TTL is the time to live.
func (h IPv4) TTL() uint8 { return h[8] }

// Proto is the protocol of the payload.
func (h IPv4) Proto() uint8 { return h[9] }

// Src is the source address.
func (h IPv4) Src() [4]byte { return [4]byte(h[12:16]) }

// Dst is the destination address.
func (h IPv4) Dst() [4]byte { return [4]byte(h[16:20]) }

// Payload is what follows the header, up to the total length; h must be Valid.
func (h IPv4) Payload() []byte { return h[h.HeaderSize():h.TotalSize()] }

// ChecksumOK reports whether the header's checksum is right; h must be Valid.
func (h IPv4) ChecksumOK() bool { return Checksum(h[:h.HeaderSize()]) == 0 }

// Fields decodes the header.
func (h IPv4) Fields() IPv4Fields {
	return IPv4Fields{
		HeaderSize: h.HeaderSize(), TOS: h[1], TotalSize: binary.BigEndian.Uint16(h[2:4]),
		ID: binary.BigEndian.Uint16(h[4:6]), Frag: h.Frag(), TTL: h[8], Proto: h[9],
		Checksum: binary.BigEndian.Uint16(h[10:12]), Src: h.Src(), Dst: h.Dst(),
	}
}

// Encode writes the header's fixed part; f.Checksum as it is. HeaderSize 0 means 20.
func (h IPv4) Encode(f IPv4Fields) {
	_ = h[IPv4Size-1]
	if f.HeaderSize == 0 {
		f.HeaderSize = IPv4Size
	}
	h[0] = 0x40 | uint8(f.HeaderSize/4)&15
	h[1] = f.TOS
	binary.BigEndian.PutUint16(h[2:4], f.TotalSize)
	binary.BigEndian.PutUint16(h[4:6], f.ID)
	binary.BigEndian.PutUint16(h[6:8], f.Frag)
	h[8], h[9] = f.TTL, f.Proto
	binary.BigEndian.PutUint16(h[10:12], f.Checksum)
	copy(h[12:16], f.Src[:])
	copy(h[16:20], f.Dst[:])
}

// SetChecksum computes and writes the header's checksum; the header is whole.
func (h IPv4) SetChecksum() {
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:12], Checksum(h[:h.HeaderSize()]))
}
