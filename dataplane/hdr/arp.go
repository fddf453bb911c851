package hdr

import "encoding/binary"

// ARPSize is the size of an ARP packet for Ethernet and IPv4, in bytes (RFC 826).
const ARPSize = 28

// ARP opcodes.
const (
	ARPRequest uint16 = 1
	ARPReply   uint16 = 2
)

// arpPrefix is hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
const arpPrefix = 0x0001_0800_0604

// ARP is an ARP packet for Ethernet and IPv4.
type ARP []byte

// ARPFields are the fields of an ARP packet.
type ARPFields struct {
	Op        uint16
	SenderMAC [6]byte
	SenderIP  [4]byte
	TargetMAC [6]byte
	TargetIP  [4]byte
}

// Valid reports whether the packet is whole, and for Ethernet and IPv4.
func (h ARP) Valid() bool {
	return len(h) >= ARPSize && binary.BigEndian.Uint64(h[0:8])>>16 == arpPrefix
}

// Op is the opcode.
func (h ARP) Op() uint16 { return binary.BigEndian.Uint16(h[6:8]) }

// Fields decodes the packet.
func (h ARP) Fields() ARPFields {
	return ARPFields{
		Op:        h.Op(),
		SenderMAC: [6]byte(h[8:14]), SenderIP: [4]byte(h[14:18]),
		TargetMAC: [6]byte(h[18:24]), TargetIP: [4]byte(h[24:28]),
	}
}

// Encode writes the packet.
func (h ARP) Encode(f ARPFields) {
	_ = h[ARPSize-1]
	binary.BigEndian.PutUint64(h[0:8], arpPrefix<<16|uint64(f.Op))
	copy(h[8:14], f.SenderMAC[:])
	copy(h[14:18], f.SenderIP[:])
	copy(h[18:24], f.TargetMAC[:])
	copy(h[24:28], f.TargetIP[:])
}
