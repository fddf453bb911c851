package guest

import "encoding/binary"

// HdrLen is the size of the virtio-net header of VERSION_1 and MRG_RXBUF devices.
const HdrLen = 12

// Flags and segmentation types of a virtio-net header (virtio 1.2, 5.1.6).
const (
	HdrNeedsCsum uint8 = 1
	HdrDataValid uint8 = 2

	GSONone  uint8 = 0
	GSOTCPv4 uint8 = 1
	GSOUDP   uint8 = 3
	GSOTCPv6 uint8 = 4
	GSOECN   uint8 = 0x80
)

// Hdr is a virtio-net header as it lies in memory.
type Hdr [HdrLen]byte

// HdrFields are a header's fields by name, lengths in bytes.
type HdrFields struct {
	Flags      uint8
	GSOType    uint8
	HdrLen     uint16
	GSOSize    uint16
	CsumStart  uint16
	CsumOffset uint16
	NumBuffers uint16
}

// MakeHdr is the header with these fields.
func MakeHdr(f HdrFields) (h Hdr) {
	h[0], h[1] = f.Flags, f.GSOType
	for i, v := range [...]uint16{f.HdrLen, f.GSOSize, f.CsumStart, f.CsumOffset, f.NumBuffers} {
		binary.LittleEndian.PutUint16(h[2+2*i:], v)
	}
	return h
}

// Fields are the header's fields.
func (h *Hdr) Fields() HdrFields {
	at := func(i int) uint16 { return binary.LittleEndian.Uint16(h[i:]) }
	return HdrFields{
		Flags: h[0], GSOType: h[1], HdrLen: at(2), GSOSize: at(4), CsumStart: at(6), CsumOffset: at(8), NumBuffers: at(10),
	}
}

// NumBuffers is the number of receive buffers that the frame takes.
func (h *Hdr) NumBuffers() int { return int(binary.LittleEndian.Uint16(h[10:])) }
