package hdr

import "encoding/binary"

// Sum is the ones' complement sum of b (RFC 1071), added to sum; an odd last
// byte counts as the high byte of a word. Parts of a packet can be summed one
// after the other if all but the last have an even length.
//
//	alloc: 0
func Sum(b []byte, sum uint32) uint32 {
	s := uint64(sum)
	for len(b) >= 8 {
		v := binary.BigEndian.Uint64(b)
		s += v>>32 + v&0xffffffff
		b = b[8:]
	}
	for len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint32(s)
}

// Finish is the checksum that belongs to a sum: its ones' complement.
func Finish(sum uint32) uint16 {
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// Checksum is the Internet checksum of b (RFC 1071). Over a header that holds a
// right checksum it is 0.
func Checksum(b []byte) uint16 { return Finish(Sum(b, 0)) }

// Pseudo is the sum of the pseudo header of IPv4 (RFC 768, 9293) and IPv6 (RFC
// 8200 8.1): src and dst of 4 or 16 bytes, size of the L4 packet in bytes.
func Pseudo(src, dst []byte, proto uint8, size int) uint32 {
	return Sum(dst, Sum(src, 0)) + uint32(proto) + uint32(size)
}

// Update is checksum c after a 16-bit word that it covers went from old to new
// (RFC 1624, equation 3). A wrong checksum stays wrong by as much.
//
//	alloc: 0
func Update(c, old, new uint16) uint16 {
	return Finish(uint32(^c) + uint32(^old) + uint32(new))
}

// UpdateBytes is Update for a field of an even number of bytes at an even
// offset; old and new are equally long.
//
//	alloc: 0
func UpdateBytes(c uint16, old, new []byte) uint16 {
	sum := uint32(^c)
	for len(old) >= 2 && len(new) >= 2 {
		sum += uint32(^binary.BigEndian.Uint16(old)) + uint32(binary.BigEndian.Uint16(new))
		old, new = old[2:], new[2:]
	}
	return Finish(sum)
}
