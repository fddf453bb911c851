package hdr

import "encoding/binary"

// Sizes of the link layer's headers in bytes (IEEE 802.3 3.1.1, 802.1Q 9.6).
const (
	EthernetSize = 14
	VLANSize     = 4
)

// EtherTypes.
const (
	TypeIPv4 uint16 = 0x0800
	TypeARP  uint16 = 0x0806
	TypeVLAN uint16 = 0x8100
	TypeIPv6 uint16 = 0x86dd
	TypeTEB  uint16 = 0x6558 // transparent Ethernet bridging: what Geneve carries
)

// Ethernet is a frame from its first byte on.
type Ethernet []byte

// EthernetFields are the fields of an Ethernet header.
type EthernetFields struct {
	Dst, Src [6]byte
	Type     uint16
}

// Valid reports whether the frame has a whole header.
func (h Ethernet) Valid() bool { return len(h) >= EthernetSize }

// Dst is the destination address.
func (h Ethernet) Dst() [6]byte { return [6]byte(h[0:6]) }

// Src is the source address.
func (h Ethernet) Src() [6]byte { return [6]byte(h[6:12]) }

// Type is the EtherType, or an 802.3 length if below 0x600.
func (h Ethernet) Type() uint16 { return binary.BigEndian.Uint16(h[12:14]) }

// Payload is what follows the header.
func (h Ethernet) Payload() []byte { return h[EthernetSize:] }

// Fields decodes the header.
func (h Ethernet) Fields() EthernetFields {
	return EthernetFields{Dst: h.Dst(), Src: h.Src(), Type: h.Type()}
}

// Encode writes the header.
func (h Ethernet) Encode(f EthernetFields) {
	_ = h[EthernetSize-1]
	copy(h[0:6], f.Dst[:])
	copy(h[6:12], f.Src[:])
	binary.BigEndian.PutUint16(h[12:14], f.Type)
}

// VLAN is what follows an Ethernet header of type TypeVLAN: tag control
// information, and the type of the payload.
type VLAN []byte

// VLANFields are the fields of a VLAN tag.
type VLANFields struct {
	TCI  uint16 // PCP:3, DEI:1, VID:12
	Type uint16
}

// Valid reports whether the tag is whole.
func (h VLAN) Valid() bool { return len(h) >= VLANSize }

// Payload is what follows the tag.
func (h VLAN) Payload() []byte { return h[VLANSize:] }

// Fields decodes the tag.
func (h VLAN) Fields() VLANFields {
	return VLANFields{TCI: binary.BigEndian.Uint16(h[0:2]), Type: binary.BigEndian.Uint16(h[2:4])}
}

// Encode writes the tag.
func (h VLAN) Encode(f VLANFields) {
	binary.BigEndian.PutUint16(h[0:2], f.TCI)
	binary.BigEndian.PutUint16(h[2:4], f.Type)
}
