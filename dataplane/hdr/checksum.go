package hdr

import (
	"encoding/binary"
	"math/bits"
)

// Sum is the ones' complement sum of b (RFC 1071), added to sum; an odd last
// byte counts as the high byte of a word. Parts of a packet can be summed one
// after the other if all but the last have an even length.
//
//	alloc: 0
func Sum(b []byte, sum uint32) uint32 {
	s := uint64(fold(sumWords(b))) + uint64(sum)
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint32(s)
}

// sumWords is the sum of b as 64-bit words with end-around carry. The order of the
// bytes in a word does not matter to the sum but for its own (RFC 1071 2(B)): words
// are taken as a little-endian host has them, so that the sum comes out swapped.
func sumWords(b []byte) uint64 {
	var s, carry uint64
	for len(b) >= 32 { // one chain of additions with carry
		w := (*[32]byte)(b)
		s, carry = bits.Add64(s, binary.LittleEndian.Uint64(w[0:8]), 0)
		s, carry = bits.Add64(s, binary.LittleEndian.Uint64(w[8:16]), carry)
		s, carry = bits.Add64(s, binary.LittleEndian.Uint64(w[16:24]), carry)
		s, carry = bits.Add64(s, binary.LittleEndian.Uint64(w[24:32]), carry)
		s += carry // never beyond 64 bits: a chain that begins without carry cannot end with all ones and one
		b = b[32:]
	}
	for len(b) >= 8 {
		s, carry = bits.Add64(s, binary.LittleEndian.Uint64(b), 0)
		s += carry
		b = b[8:]
	}
	var last uint64 // at most 7 bytes, all at even places
	if len(b) >= 4 {
		last = uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		last += uint64(binary.LittleEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		last += uint64(b[0])
	}
	s, carry = bits.Add64(s, last, 0)
	return s + carry
}

// fold is a sum of sumWords as 16 bits in network order.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return bits.ReverseBytes16(uint16(s))
}

// Complete writes a checksum whose field, offset bytes behind start, holds the sum of
// what is covered besides the bytes from start to b's end (a pseudo header's): what a
// sender leaves to its network card (virtio 1.2, 5.1.6.2). 0 is written as 0xffff,
// which is the same to whoever adds it up, and not UDP's "none" (RFC 768).
//
//	out:   false, and nothing done, if the field does not lie behind start in b
//	alloc: 0
func Complete(b []byte, start, offset int) bool {
	if start < 0 || offset < 0 || start > len(b) || offset > len(b)-start-2 {
		return false
	}
	c := Finish(Sum(b[start:], 0))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b[start+offset:], c)
	return true
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
