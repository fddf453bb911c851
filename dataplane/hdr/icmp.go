package hdr

import "encoding/binary"

// ICMPSize is the size of the header that all messages of ICMP (RFC 792) and
// ICMPv6 (RFC 4443) begin with, the message's first word included, in bytes.
const ICMPSize = 8

// Types of ICMP and ICMPv6 messages.
const (
	ICMPEchoReply     uint8 = 0
	ICMPEchoRequest   uint8 = 8
	ICMPv6EchoRequest uint8 = 128
	ICMPv6EchoReply   uint8 = 129
)

// ICMP is a message of ICMP or ICMPv6, which differ in what the checksum covers.
type ICMP []byte

// ICMPFields are the fields of the header. In an echo, Rest is identifier and
// sequence number.
type ICMPFields struct {
	Type, Code uint8
	Checksum   uint16
	Rest       uint32
}

// Valid reports whether the header is whole.
func (h ICMP) Valid() bool { return len(h) >= ICMPSize }

// Payload is what follows the header.
func (h ICMP) Payload() []byte { return h[ICMPSize:] }

// Fields decodes the header.
func (h ICMP) Fields() ICMPFields {
	return ICMPFields{
		Type: h[0], Code: h[1],
		Checksum: binary.BigEndian.Uint16(h[2:4]), Rest: binary.BigEndian.Uint32(h[4:8]),
	}
}

// Encode writes the header; f.Checksum as it is.
func (h ICMP) Encode(f ICMPFields) {
	_ = h[ICMPSize-1]
	h[0], h[1] = f.Type, f.Code
	binary.BigEndian.PutUint16(h[2:4], f.Checksum)
	binary.BigEndian.PutUint32(h[4:8], f.Rest)
}

// SetChecksum computes and writes the checksum of the whole message h. pseudo is
// 0 for ICMP, and Pseudo of the packet for ICMPv6.
func (h ICMP) SetChecksum(pseudo uint32) {
	h[2], h[3] = 0, 0
	binary.BigEndian.PutUint16(h[2:4], Finish(Sum(h, pseudo)))
}
