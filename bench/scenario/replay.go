package scenario

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"baton/bench/pcap"
	"baton/bench/report"
	"baton/bench/topology"
	"baton/dataplane/hdr"
)

// maxReplay is how many packets a file may have that a device replays: DPDK's net_pcap
// keeps a buffer for each, and OVS's pool has to hold them (ovsMiB).
const maxReplay = 100_000

// replayLimit says so.
var replayLimit = fmt.Sprintf("the NIC's device (net_pcap) keeps a packet buffer for each packet of its file, and OVS's pool has no more: at most %d flows; "+
	"with more run encap, route or vm2vm", maxReplay)

// checkReplay tells if nothing of what is asked for can be replayed.
func checkReplay(flows []int) error {
	if len(flows) > 0 && slices.Min(flows) > maxReplay {
		return errors.New(replayLimit)
	}
	return nil
}

// leastReplay is how many packets a file has at least, so that its flows need not divide
// a burst.
const leastReplay = 1024

// imix is the sizes of frames in turn.
var imix = []int{64, 570, 64, 64, 570, 64, 64, 1518, 570, 64, 64, 570}

// writeReplay writes a file of packets in a tunnel from a VM of the far host to one of
// this, from each flow one, in turn. It returns how many there are.
func writeReplay(path string, from, to topology.VM, flows int, size report.Size) (num int, err error) {
	w, err := pcap.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	num = (max(flows, leastReplay) + flows - 1) / flows * flows
	for i := range num {
		length := int(size)
		if size == report.IMIX {
			length = imix[i%len(imix)]
		}
		raw, err := frame(from, to, i%flows, length)
		if err != nil {
			return 0, err
		}
		outer, err := tunnelled(from, to, i%flows, raw)
		if err != nil {
			return 0, err
		}
		if err := w.Write(outer); err != nil {
			return 0, err
		}
	}
	return num, nil
}

// tunnelled is a frame of a flow as it comes from the far host.
func tunnelled(from, to topology.VM, flow int, raw []byte) ([]byte, error) {
	outer := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, Flags: layers.IPv4DontFragment,
		SrcIP: topology.FarVTEP.IP.Addr().AsSlice(), DstIP: topology.HostVTEP.IP.Addr().AsSlice()}
	head := make([]byte, hdr.GeneveFullSize)
	hdr.Geneve(head).EncodeFull(to.VNI, hdr.BatonOption{SrcPort: from.ID, DstPort: to.ID})
	udp := &layers.UDP{SrcPort: layers.UDPPort(0xc000 | flow&0x3fff), DstPort: layers.UDPPort(hdr.GenevePort)}
	if err := udp.SetNetworkLayerForChecksum(outer); err != nil {
		return nil, err
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: topology.FarVTEP.MAC[:], DstMAC: topology.HostVTEP.MAC[:], EthernetType: layers.EthernetTypeIPv4},
		outer, udp, gopacket.Payload(append(head, raw...)))
	if err != nil {
		return nil, err
	}
	sent := b.Bytes()
	sent[14+20+6], sent[14+20+7] = 0, 0 // no UDP checksum, as RFC 8926 3.3 allows
	return sent, nil
}

// headers is the bytes of a frame's Ethernet, IPv4 and UDP headers.
const headers = 42

// frame is what a VM sends: UDP over IPv4, with ports that differ between flows as a
// generator's do (gen.SourcePorts).
func frame(from, to topology.VM, flow, size int) ([]byte, error) {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from.IP.AsSlice(), DstIP: to.IP.AsSlice()}
	udp := &layers.UDP{SrcPort: layers.UDPPort(1024 + flow&0x3fff), DstPort: layers.UDPPort(2048 + flow>>14)}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: from.MAC[:], DstMAC: to.MAC[:], EthernetType: layers.EthernetTypeIPv4}, ip, udp,
		gopacket.Payload(make([]byte, size-headers)))
	return b.Bytes(), err
}
