package scenario

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"baton/bench/topology"
	"baton/dataplane/hdr"
)

// tunnelFrame opens a frame that left for the far host, and holds its outer headers
// against what a tunnel from one VM to another has: addresses, lengths, checksum, VNI,
// option.
func tunnelFrame(vni uint32, src, dst uint16) func([]byte) ([]byte, error) {
	return func(f []byte) ([]byte, error) {
		p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.NoCopy)
		eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		if eth == nil || eth.EthernetType != layers.EthernetTypeIPv4 {
			return nil, errForeign
		}
		ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		udp, _ := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		geneve, _ := p.Layer(layers.LayerTypeGeneve).(*layers.Geneve)
		if ip == nil || udp == nil || geneve == nil {
			return nil, errors.New("no Geneve in it")
		}
		from, to := topology.HostVTEP, topology.FarVTEP
		switch {
		case eth.SrcMAC.String() != net.HardwareAddr(from.MAC[:]).String() || eth.DstMAC.String() != net.HardwareAddr(to.MAC[:]).String():
			return nil, fmt.Errorf("outer MAC addresses %v to %v", eth.SrcMAC, eth.DstMAC)
		case ip.SrcIP.String() != from.IP.Addr().String() || ip.DstIP.String() != to.IP.Addr().String():
			return nil, fmt.Errorf("outer addresses %v to %v", ip.SrcIP, ip.DstIP)
		case !hdr.IPv4(f[14:]).ChecksumOK():
			return nil, errors.New("outer IPv4 checksum")
		case int(ip.Length) != len(f)-14 || int(udp.Length) != len(f)-34:
			return nil, fmt.Errorf("outer lengths %d and %d of a frame of %d", ip.Length, udp.Length, len(f))
		case geneve.VNI != vni:
			return nil, fmt.Errorf("VNI %d, want %d", geneve.VNI, vni)
		case len(geneve.Options) != 1:
			return nil, fmt.Errorf("%d Geneve options", len(geneve.Options))
		}
		o := geneve.Options[0]
		want := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src), dst)
		if o.Class != 0xffee || o.Type != 0x80 || string(o.Data) != string(append(want, 0, 0, 0, 0)) {
			return nil, fmt.Errorf("option %#x/%#x %x, want data %x00000000", o.Class, o.Type, o.Data, want)
		}
		return geneve.LayerPayload(), nil
	}
}
