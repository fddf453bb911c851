package gen

import (
	"bytes"
	"encoding/binary"

	"baton/dataplane/hdr"
)

// checker looks at all bytes of a stream's frames.
type checker struct {
	w       *writer
	sizes   []int
	pattern [MaxSize]byte
	frame   Frame
}

func newChecker(s Stream, w *writer) *checker {
	c := &checker{w: w, sizes: s.sizes(), frame: s.Frame}
	for i := range c.pattern {
		c.pattern[i] = pattern(i)
	}
	return c
}

// good says whether the inner frame b, which read has found in frame, is what was sent:
// but for MAC addresses, if a router was between, which counts the TTL down. A tunnel's
// headers around it must add up.
func (c *checker) good(frame, b []byte, s seen) bool {
	size := c.sizes[s.number%uint64(len(c.sizes))]
	if len(b) != size || !goodOuter(frame, size) {
		return false
	}
	ip := hdr.IPv4(b[ipAt:])
	if !ip.Valid() || ip.HeaderSize() != hdr.IPv4Size || ip.TotalSize() != size-ipAt || !ip.ChecksumOK() || ip.TTL() == 0 || ip.TTL() > 64 {
		return false
	}
	if ip.TTL() == 64 && !c.macs(b, s.flow) {
		return false
	}
	udp := hdr.UDP(b[srcPortAt:])
	v := &c.w.vary
	return binary.BigEndian.Uint32(b[srcIPAt:]) == v[2].of(s.flow) && binary.BigEndian.Uint32(b[dstIPAt:]) == v[3].of(s.flow) &&
		binary.BigEndian.Uint16(b[srcPortAt:]) == uint16(v[4].of(s.flow)) && binary.BigEndian.Uint16(b[dstPortAt:]) == uint16(v[5].of(s.flow)) &&
		udp.Size() == size-srcPortAt && bytes.Equal(b[MinSize:], c.pattern[MinSize:size])
}

func (c *checker) macs(b []byte, flow uint32) bool {
	v := &c.w.vary
	return bytes.Equal(b[0:2], c.frame.DstMAC[:2]) && bytes.Equal(b[6:8], c.frame.SrcMAC[:2]) &&
		binary.BigEndian.Uint32(b[dstMACAt:]) == v[0].of(flow) && binary.BigEndian.Uint32(b[srcMACAt:]) == v[1].of(flow)
}

// goodOuter says whether a tunnel's headers around an inner frame of size bytes add up;
// true without a tunnel.
func goodOuter(b []byte, size int) bool {
	if len(b) == size {
		return true
	}
	ip := hdr.IPv4(b[ipAt:])
	return len(b) == outerSize+size && ip.Valid() && ip.ChecksumOK() && ip.TotalSize() == len(b)-ipAt &&
		hdr.UDP(b[srcPortAt:]).Size() == len(b)-srcPortAt && hdr.Geneve(b[innerSize:]).Valid() &&
		hdr.Geneve(b[innerSize:]).OptionsSize() == hdr.BatonOptionSize
}
