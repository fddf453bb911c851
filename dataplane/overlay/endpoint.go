package overlay

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"

	"baton/dataplane/flow"
	"baton/dataplane/hdr"
)

// Sizes of the outer headers, in bytes.
const (
	ethSize    = 14
	ipSize     = 20
	udpSize    = 8
	geneveSize = 8 // without options
	optionSize = 12

	// HeaderSize is all that Push puts before a frame.
	HeaderSize = ethSize + ipSize + udpSize + geneveSize + optionSize
)

// Port is Geneve's UDP destination port (RFC 8926 3.3).
const Port = 6081

// Outer UDP source ports are the dynamic range of RFC 6335 6, as RFC 8926 3.3
// advises: firstSource and the sourceMask+1 ports from it.
const (
	firstSource = 49152
	sourceMask  = 1<<14 - 1
)

// Numbers of the Geneve header and of our option.
const (
	protoEthernet = 0x6558 // Trans Ether Bridging: the payload is an Ethernet frame
	flagOAM       = 0x80   // control packet
	flagCritical  = 0x40   // some option is critical
	optionClass   = 0xffee // of the range for experiments, RFC 8926 7
	optionType    = 0x80   // the top bit says: critical
	optionWords   = 2      // of data, 4 bytes each
)

// ttl of packets that the end point makes; a router on the underlay takes one.
const ttl = 64

// minMTU is the underlay MTU below which a guest could not be given IPv6's 1280 bytes.
const minMTU = 1280 + ethSize + ipSize + udpSize + geneveSize + optionSize

// Config says who the tunnel end point is.
type Config struct {
	IP  netip.Prefix // its IPv4 address, with the length of the underlay's prefix
	MAC flow.MAC
	MTU int // bytes of L3 that the underlay carries
}

// Endpoint is a tunnel end point.
//
//	conc: immutable, safe for concurrent use
type Endpoint struct {
	cfg      Config
	ip       uint32
	template [HeaderSize]byte
	words    [7]uint64 // the template's first 56 bytes, what write fills in zero
	maxFrame int       // MaxFrame
	mac, dst uint64    // our MAC and IP address as common sees them in a frame
	partial  uint32    // ones' complement sum of the template's IPv4 header, length and destination zero
}

// New is the end point that cfg describes.
//
//	error: the address is not a usable IPv4 host address, the MAC not a unicast one, the MTU too small or too large
func New(cfg Config) (*Endpoint, error) {
	a := cfg.IP.Addr().Unmap()
	switch {
	case !cfg.IP.IsValid() || !a.Is4() || !usable(flow.IPv4(a)):
		return nil, fmt.Errorf("overlay: tunnel address %v: want a unicast IPv4 address with prefix length, as in 192.0.2.1/24", cfg.IP)
	case cfg.MAC == flow.MAC{} || cfg.MAC[0]&1 != 0:
		return nil, fmt.Errorf("overlay: tunnel MAC %v: want a unicast address", cfg.MAC)
	case cfg.MTU < minMTU || cfg.MTU > 65535:
		return nil, fmt.Errorf("overlay: underlay MTU %d: want %d to 65535", cfg.MTU, minMTU)
	}
	e := &Endpoint{cfg: cfg, ip: flow.IPv4(a)}
	e.fill()
	return e, nil
}

// fill makes the template: all that is the same in every packet.
func (e *Endpoint) fill() {
	h := e.template[:]
	copy(h[6:12], e.cfg.MAC[:])
	binary.BigEndian.PutUint16(h[12:], flow.EtherTypeIPv4)

	ip := h[ethSize:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[6:], 0x4000) // do not fragment; the id of such a packet is of no use (RFC 6864 4.1)
	ip[8] = ttl
	ip[9] = flow.ProtoUDP
	binary.BigEndian.PutUint32(ip[12:], e.ip)
	e.partial = hdr.Sum(ip[:ipSize], 0)

	udp := ip[ipSize:]
	binary.BigEndian.PutUint16(udp[2:], Port)

	g := udp[udpSize:]
	g[0] = optionSize / 4
	g[1] = flagCritical
	binary.BigEndian.PutUint16(g[2:], protoEthernet)
	binary.BigEndian.PutUint16(g[8:], optionClass)
	g[10] = optionType
	g[11] = optionWords
	e.maxFrame = e.cfg.MTU - HeaderSize + ethSize
	for i := range e.words {
		e.words[i] = le.Uint64(h[8*i:])
	}
	e.mac = uint64(le.Uint32(e.cfg.MAC[0:4])) | uint64(le.Uint16(e.cfg.MAC[4:6]))<<32
	e.dst = uint64(bits.ReverseBytes32(e.ip))
}

// Config is what the end point was made from.
func (e *Endpoint) Config() Config { return e.cfg }

// IP is the end point's IPv4 address in host order.
func (e *Endpoint) IP() uint32 { return e.ip }

// InnerMTU is the L3 size in bytes that fits into the tunnel: what guests are told.
func (e *Endpoint) InnerMTU() int { return e.cfg.MTU - HeaderSize }

// MaxFrame is the length in bytes of the largest frame that fits into the tunnel:
// InnerMTU and an Ethernet header. A VLAN tag takes from it.
func (e *Endpoint) MaxFrame() int { return e.maxFrame }

// usable reports whether ip can be the address of one host: not 0/8, not
// loopback, not multicast or above.
func usable(ip uint32) bool {
	top := ip >> 24
	return top != 0 && top != 127 && top < 224
}
