package hdr

import "encoding/binary"

// IPv6Size is the size of an IPv6 header without extensions, in bytes (RFC 8200).
const IPv6Size = 40

// IPv6 is an IPv6 packet from its first byte on.
type IPv6 []byte

// IPv6Fields are the fields of an IPv6 header.
type IPv6Fields struct {
	TrafficClass uint8
	FlowLabel    uint32 // 20 bits
	PayloadSize  uint16 // bytes, extensions included
	NextHeader   uint8
	HopLimit     uint8
	Src, Dst     [16]byte
}

// Valid reports whether version and length fit the slice: header and payload lie in it.
func (h IPv6) Valid() bool {
	return len(h) >= IPv6Size && h[0]>>4 == 6 && h.PayloadSize() <= len(h)-IPv6Size
}

// PayloadSize is the length in bytes of all that follows the header.
func (h IPv6) PayloadSize() int { return int(binary.BigEndian.Uint16(h[4:6])) }

// Src is the source address.
func (h IPv6) Src() [16]byte { return [16]byte(h[8:24]) }

// Dst is the destination address.
func (h IPv6) Dst() [16]byte { return [16]byte(h[24:40]) }

// Payload is what follows the header, extensions first; h must be Valid.
func (h IPv6) Payload() []byte { return h[IPv6Size : IPv6Size+h.PayloadSize()] }

// Fields decodes the header.
func (h IPv6) Fields() IPv6Fields {
	first := binary.BigEndian.Uint32(h[0:4])
	return IPv6Fields{
		TrafficClass: uint8(first >> 20), FlowLabel: first & 0xfffff,
		PayloadSize: binary.BigEndian.Uint16(h[4:6]), NextHeader: h[6], HopLimit: h[7],
		Src: h.Src(), Dst: h.Dst(),
	}
}

// Encode writes the header.
func (h IPv6) Encode(f IPv6Fields) {
	_ = h[IPv6Size-1]
	binary.BigEndian.PutUint32(h[0:4], 6<<28|uint32(f.TrafficClass)<<20|f.FlowLabel&0xfffff)
	binary.BigEndian.PutUint16(h[4:6], f.PayloadSize)
	h[6], h[7] = f.NextHeader, f.HopLimit
	copy(h[8:24], f.Src[:])
	copy(h[24:40], f.Dst[:])
}

// maxExtensions is how many extension headers Upper walks at the most.
const maxExtensions = 8

// Upper is what follows the extension headers: its protocol, and its offset in
// h. Behind a fragment header of a later fragment there is none: later is true
// then, and at the end of that header. ok is false if the extensions do not
// fit in the packet or are too many. h must be Valid.
//
//	alloc: 0
func (h IPv6) Upper() (proto uint8, at int, later, ok bool) {
	end := IPv6Size + h.PayloadSize()
	proto, at = h[6], IPv6Size
	for range maxExtensions + 1 {
		unit, plus := 8, 1
		switch proto {
		case 0, 43, 60, 135, 139, 140: // hop by hop, routing, destination, mobility, HIP, shim6
		case 44: // fragment: always 8 bytes
			unit, plus = 0, 8
		case 51: // authentication: units of 4 bytes less 2 (RFC 4302 2.2)
			unit, plus = 4, 2
		default:
			return proto, at, false, true
		}
		if end-at < 8 {
			return 0, 0, false, false
		}
		size := (int(h[at+1]) + plus) * unit
		if unit == 0 {
			size = plus
			later = binary.BigEndian.Uint16(h[at+2:at+4])&0xfff8 != 0
		}
		if size > end-at {
			return 0, 0, false, false
		}
		proto = h[at]
		at += size
		if later {
			return proto, at, true, true
		}
	}
	return 0, 0, false, false
}
