package flow

import (
	"fmt"
	"unsafe"
)

// PortNo names a port inside one host: the datapath id (VNI) of the switch that
// the port is on in bits 16..39, the port id there in bits 0..15. So the number
// of a logical port follows from the model alone and no host has to hand out any.
type PortNo uint64

// Port numbers below 1<<16 (datapath id 0) are reserved for the host itself.
const (
	PortNone   PortNo = 0 // no port
	PortTunnel PortNo = 1 // the overlay: packets that came out of a Geneve tunnel
)

// LogicalPort is the number of port id on datapath vni.
func LogicalPort(vni uint32, id uint16) PortNo { return PortNo(vni)<<16 | PortNo(id) }

// VNI is the datapath id of a logical port, 0 for reserved numbers.
func (p PortNo) VNI() uint32 { return uint32(p >> 16) }

// ID is the port id inside its datapath.
func (p PortNo) ID() uint16 { return uint16(p) }

// String is "none", "tunnel" or "VNI:ID".
func (p PortNo) String() string {
	switch p {
	case PortNone:
		return "none"
	case PortTunnel:
		return "tunnel"
	}
	return fmt.Sprintf("%d:%d", p.VNI(), p.ID())
}

// MAC is an Ethernet address.
type MAC [6]byte

// String is the usual form with colons.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Frame flags, carried in the Geneve option and in Regs.Flags.
const (
	FlagLoopback uint16 = 1 << 0 // may leave by the port it came from
	FlagTrace    uint16 = 1 << 1 // report each stage
	FlagRedirect uint16 = 1 << 2 // a host that is not the last one relays this: one hop only
	FlagNAT      uint16 = 1 << 3 // addresses were translated
)

// EtherTypes and IP protocols that the vocabulary itself refers to.
const (
	EtherTypeIPv4 uint16 = 0x0800
	EtherTypeARP  uint16 = 0x0806
	EtherTypeIPv6 uint16 = 0x86dd
	EtherTypeVLAN uint16 = 0x8100

	ProtoICMP   uint8 = 1
	ProtoTCP    uint8 = 6
	ProtoUDP    uint8 = 17
	ProtoICMPv6 uint8 = 58
)

// Fragment bits of Key.Frag.
const (
	FragAny   uint8 = 1 << 0 // a fragment of a larger packet
	FragLater uint8 = 1 << 1 // not the first one: it has no L4 header
)

// Key is what the fast path knows of a packet: ten 64-bit words, no padding, so
// that hashing, masking and comparing go word by word. Numbers are in host
// order, addresses in wire order.
//
// IPv4 and ARP: addresses in the first four bytes of IPSrc and IPDst, the rest
// zero. ARP: Proto is the opcode, IPSrc the sender's and IPDst the target's
// protocol address. ICMP: L4Src is the type, L4Dst the code. A later fragment
// has L4Src = L4Dst = 0.
type Key struct {
	InPort PortNo // ingress port

	VNI    uint32 // of the tunnel that the packet came from, else 0
	TunSrc uint32 // outer source IPv4 address, host order, else 0

	SrcPort uint16 // Geneve option, else 0: source port id
	DstPort uint16 // Geneve option: destination port id
	Flags   uint16 // Geneve option: frame flags
	Command uint16 // Geneve option: command id

	EthDst  MAC
	EthType uint16 // of the payload, behind a VLAN tag; 0 for 802.3 length frames
	EthSrc  MAC
	VLAN    uint16 // tag control information | 0x1000 (the tag is there), else 0

	IPSrc [16]byte
	IPDst [16]byte

	Proto uint8 // IP protocol; of IPv6 the last header after extensions
	TOS   uint8 // DSCP and ECN
	Frag  uint8 // FragAny, FragLater
	_     uint8
	L4Src uint16
	L4Dst uint16
}

// Regs are the pipeline's registers: state of one walk, zero at its start.
type Regs struct {
	Datapath uint32 // id of the switch or router that the packet is in
	TunDst   uint32 // underlay IPv4 address of the host to send to, host order; 0 = this host

	SrcPort uint16 // port id by which the packet came into the datapath
	DstPort uint16 // port id by which it is to leave, 0 = unknown
	Flags   uint16 // frame flags
	Command uint16 // command id of a traced packet

	NextHop [16]byte // IP address of the next hop, as in Key.IPDst

	OutPort PortNo // port of this host to send to

	NextDatapath uint32 // datapath that the packet goes to over a link
	NextPort     uint16 // port id there
	_            uint16
}

// Fields is all that a rule can match on.
type Fields struct {
	Key
	Regs
}

// Sizes in 64-bit words.
const (
	KeyWords   = int(unsafe.Sizeof(Key{}) / 8)
	FieldWords = int(unsafe.Sizeof(Fields{}) / 8)
)

// Words is the key as an array that shares its memory.
func (k *Key) Words() *[KeyWords]uint64 {
	// SAFETY: Key is KeyWords words long, 8-byte aligned (PortNo) and has no implicit padding; the tests hold it so.
	return (*[KeyWords]uint64)(unsafe.Pointer(k))
}

// Words is the fields as an array that shares their memory; the key comes first.
func (f *Fields) Words() *[FieldWords]uint64 {
	// SAFETY: as for Key.Words.
	return (*[FieldWords]uint64)(unsafe.Pointer(f))
}
