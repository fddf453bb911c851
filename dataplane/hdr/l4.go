package hdr

import "encoding/binary"

// Sizes of the transport headers without options, in bytes (RFC 9293, RFC 768).
const (
	TCPSize = 20
	UDPSize = 8
)

// Offsets of the checksum in the transport headers, in bytes.
const (
	TCPChecksumAt = 16
	UDPChecksumAt = 6
)

// TCPFlagsAt is the offset of a TCP header's flags, in bytes. Flags that offloads look
// at (RFC 9293 3.1, RFC 3168 6.1):
const (
	TCPFlagsAt = 13

	TCPFIN uint8 = 0x01
	TCPPSH uint8 = 0x08
	TCPCWR uint8 = 0x80
)

// TCP is a segment from its first byte on.
type TCP []byte

// TCPFields are the fields of a TCP header. Options are not among them.
type TCPFields struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	HeaderSize       int   // bytes; 20 to 60, a multiple of 4
	Flags            uint8 // CWR ECE URG ACK PSH RST SYN FIN
	Window           uint16
	Checksum         uint16
	Urgent           uint16
}

// Valid reports whether the header, options included, lies in the slice.
func (h TCP) Valid() bool {
	return len(h) >= TCPSize && h.HeaderSize() >= TCPSize && h.HeaderSize() <= len(h)
}

// HeaderSize is the header's length in bytes, options included.
func (h TCP) HeaderSize() int { return int(h[12]>>4) * 4 }

// Payload is what follows the header; h must be Valid.
func (h TCP) Payload() []byte { return h[h.HeaderSize():] }

// Fields decodes the header.
func (h TCP) Fields() TCPFields {
	return TCPFields{
		SrcPort: binary.BigEndian.Uint16(h[0:2]), DstPort: binary.BigEndian.Uint16(h[2:4]),
		Seq: binary.BigEndian.Uint32(h[4:8]), Ack: binary.BigEndian.Uint32(h[8:12]),
		HeaderSize: h.HeaderSize(), Flags: h[13], Window: binary.BigEndian.Uint16(h[14:16]),
		Checksum: binary.BigEndian.Uint16(h[16:18]), Urgent: binary.BigEndian.Uint16(h[18:20]),
	}
}

// Encode writes the header's fixed part; f.Checksum as it is. HeaderSize 0 means 20.
func (h TCP) Encode(f TCPFields) {
	_ = h[TCPSize-1]
	if f.HeaderSize == 0 {
		f.HeaderSize = TCPSize
	}
	binary.BigEndian.PutUint16(h[0:2], f.SrcPort)
	binary.BigEndian.PutUint16(h[2:4], f.DstPort)
	binary.BigEndian.PutUint32(h[4:8], f.Seq)
	binary.BigEndian.PutUint32(h[8:12], f.Ack)
	h[12], h[13] = uint8(f.HeaderSize/4)<<4, f.Flags
	binary.BigEndian.PutUint16(h[14:16], f.Window)
	binary.BigEndian.PutUint16(h[16:18], f.Checksum)
	binary.BigEndian.PutUint16(h[18:20], f.Urgent)
}

// SetChecksum computes and writes the checksum of the whole segment h.
func (h TCP) SetChecksum(pseudo uint32) {
	h[16], h[17] = 0, 0
	binary.BigEndian.PutUint16(h[16:18], Finish(Sum(h, pseudo)))
}

// UDP is a datagram from its first byte on.
type UDP []byte

// UDPFields are the fields of a UDP header.
type UDPFields struct {
	SrcPort, DstPort uint16
	Size             uint16 // bytes, header included
	Checksum         uint16 // 0: none
}

// Valid reports whether the datagram, as long as it says it is, lies in the slice.
func (h UDP) Valid() bool { return len(h) >= UDPSize && h.Size() >= UDPSize && h.Size() <= len(h) }

// Size is the datagram's length in bytes, header included.
func (h UDP) Size() int { return int(binary.BigEndian.Uint16(h[4:6])) }

// Payload is what follows the header, up to the datagram's length; h must be Valid.
func (h UDP) Payload() []byte { return h[UDPSize:h.Size()] }

// Fields decodes the header.
func (h UDP) Fields() UDPFields {
	return UDPFields{
		SrcPort: binary.BigEndian.Uint16(h[0:2]), DstPort: binary.BigEndian.Uint16(h[2:4]),
		Size: binary.BigEndian.Uint16(h[4:6]), Checksum: binary.BigEndian.Uint16(h[6:8]),
	}
}

// Encode writes the header; f.Checksum as it is.
func (h UDP) Encode(f UDPFields) {
	_ = h[UDPSize-1]
	binary.BigEndian.PutUint16(h[0:2], f.SrcPort)
	binary.BigEndian.PutUint16(h[2:4], f.DstPort)
	binary.BigEndian.PutUint16(h[4:6], f.Size)
	binary.BigEndian.PutUint16(h[6:8], f.Checksum)
}

// SetChecksum computes and writes the checksum of the datagram h, as long as it
// says it is: never 0, which means none (RFC 768).
func (h UDP) SetChecksum(pseudo uint32) {
	h[6], h[7] = 0, 0
	c := Finish(Sum(h[:h.Size()], pseudo))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(h[6:8], c)
}
