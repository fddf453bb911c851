package e2e_test

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// endpoint is a port of the model, as others see it.
type endpoint struct {
	Name string
	MAC  net.HardwareAddr
	IP   netip.Addr
}

// endpointOf has the MAC that the model derives from the address.
func endpointOf(name, ip string) endpoint {
	addr := netip.MustParseAddr(ip)
	b := addr.As4()
	return endpoint{Name: name, MAC: net.HardwareAddr{0x02, 0xba, b[0], b[1], b[2], b[3]}, IP: addr}
}

// frameSpec describes an IPv4 frame. Zero values: UDP, TTL 64, ports 0, the
// shortest frame that Ethernet allows (60 bytes without FCS).
type frameSpec struct {
	Src, Dst         endpoint
	Via              net.HardwareAddr // Ethernet destination, if not Dst's: the gateway's
	From             net.HardwareAddr // Ethernet source, if not Src's
	Proto            layers.IPProtocol
	SrcPort, DstPort uint16 // of ICMP: identifier and sequence number
	TTL              uint8
	ID               uint16 // of the IPv4 header; also seeds the payload
	Len              int    // bytes of the frame without FCS
}

// Bytes is the frame with correct lengths and checksums.
func (s frameSpec) Bytes() []byte {
	eth := &layers.Ethernet{SrcMAC: s.Src.MAC, DstMAC: s.Dst.MAC, EthernetType: layers.EthernetTypeIPv4}
	if s.Via != nil {
		eth.DstMAC = s.Via
	}
	if s.From != nil {
		eth.SrcMAC = s.From
	}
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: s.ID, Protocol: s.Proto, Flags: layers.IPv4DontFragment,
		SrcIP: s.Src.IP.AsSlice(), DstIP: s.Dst.IP.AsSlice()}
	if s.TTL != 0 {
		ip.TTL = s.TTL
	}
	l4, headers := s.transport(ip)
	payload := make([]byte, max(0, max(s.Len, 60)-headers))
	for i := range payload {
		payload[i] = byte(i*7 + int(s.ID)*13)
	}
	return serialize(eth, ip, l4, gopacket.Payload(payload))
}

// transport is the header above IPv4, and the bytes of all headers.
func (s frameSpec) transport(ip *layers.IPv4) (l4 gopacket.SerializableLayer, headers int) {
	switch ip.Protocol {
	case layers.IPProtocolTCP:
		tcp := &layers.TCP{SrcPort: layers.TCPPort(s.SrcPort), DstPort: layers.TCPPort(s.DstPort), Seq: uint32(s.ID), ACK: true, PSH: true, Window: 0x1000}
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			panic(err)
		}
		return tcp, 14 + 20 + 20
	case layers.IPProtocolICMPv4:
		return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: s.SrcPort, Seq: s.DstPort}, 14 + 20 + 8
	default:
		ip.Protocol = layers.IPProtocolUDP
		udp := &layers.UDP{SrcPort: layers.UDPPort(s.SrcPort), DstPort: layers.UDPPort(s.DstPort)}
		if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
			panic(err)
		}
		return udp, 14 + 20 + 8
	}
}

// Routed is the frame as it leaves a router: from the gateway's MAC of the
// destination's switch, with one less time to live.
func (s frameSpec) Routed(gateway endpoint) frameSpec {
	if s.TTL == 0 {
		s.TTL = 64
	}
	s.TTL--
	s.From, s.Via = gateway.MAC, nil
	return s
}

// serialize panics on layers that cannot be written: a bug of the test.
func serialize(parts ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// describe is one line on a frame, for failures.
func describe(frame []byte) string {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	text := ""
	if l := p.LinkLayer(); l != nil {
		text = l.LinkFlow().String()
	}
	if n := p.NetworkLayer(); n != nil {
		text += " " + n.NetworkFlow().String()
	}
	if l4 := p.TransportLayer(); l4 != nil {
		text += " " + l4.TransportFlow().String()
	}
	return fmt.Sprintf("%s %x", text, frame[:min(len(frame), 64)])
}
