package lab_test

import (
	"bytes"
	"net"
	"reflect"
	"testing"
	"time"

	"baton/test/lab"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// A Geneve frame made by another codec goes over the underlay; the capture and
// tshark must give back every field.
func TestCaptureAndDissect(t *testing.T) {
	l := lab.ForTest(t)
	bridge, err := l.Underlay("underlay", 1700)
	must(t, err)
	ports := make(map[string]*lab.RawPort)
	for _, name := range []string{"host1", "host2"} {
		n, err := l.Netns(name)
		must(t, err)
		must(t, bridge.Attach(n, "eth0", nil))
		ports[name], err = n.RawPort("eth0")
		must(t, err)
	}
	c, err := l.Capture(lab.CaptureConfig{Name: "underlay-capture", Netns: bridge.Netns, Ifname: bridge.Name})
	must(t, err)

	option := lab.Option{SrcPort: 0x1122, DstPort: 0x3344, Flags: 0x0001, Command: 0xbeef}
	frame := geneveFrame(t, 0x123456, option, 1600)
	must(t, ports["host1"].Send(frame))
	got, err := ports["host2"].Recv(5*time.Second, func(f []byte) bool { return len(f) == len(frame) })
	must(t, err)
	if !bytes.Equal(got, frame) {
		t.Fatalf("the underlay changed the frame:\n got %x\nwant %x", got, frame)
	}
	if _, err := ports["host1"].Recv(50*time.Millisecond, nil); err == nil {
		t.Fatal("a port sees its own frame")
	}
	must(t, c.Stop())

	packets, err := l.Dissect(c.File, "")
	must(t, err)
	if len(packets) != 1 {
		t.Fatalf("%d Geneve packets, want 1: %+v", len(packets), packets)
	}
	p := packets[0]
	if o, ok := p.Baton(); !ok || o != option {
		t.Errorf("option %+v (%v), want %+v", o, ok, option)
	}
	if p.VNI != 0x123456 || !p.Critical || p.Malformed {
		t.Errorf("%+v", p)
	}
	if want := []string{"192.168.100.1", "10.0.0.1"}; !reflect.DeepEqual(p.IPSrc, want) {
		t.Errorf("IP sources %v, want %v", p.IPSrc, want)
	}
	if want := []int{6081, 7}; !reflect.DeepEqual(p.UDPDst, want) {
		t.Errorf("UDP destinations %v, want %v", p.UDPDst, want)
	}
	if none, err := l.Dissect(c.File, "geneve.vni == 1"); err != nil || len(none) != 0 {
		t.Errorf("filter for another VNI: %d packets, %v", len(none), err)
	}
}

// geneveFrame is a UDP datagram in Geneve, of size bytes in all.
func geneveFrame(t *testing.T, vni uint32, option lab.Option, size int) []byte {
	t.Helper()
	mac := func(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, last} }
	outer := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP,
		SrcIP: net.IP{192, 168, 100, 1}, DstIP: net.IP{192, 168, 100, 2}}
	inner := &layers.IPv4{Version: 4, TTL: 63, Protocol: layers.IPProtocolUDP,
		SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2}}
	innerUDP := &layers.UDP{SrcPort: 9, DstPort: 7}
	must(t, innerUDP.SetNetworkLayerForChecksum(inner))
	outerUDP := &layers.UDP{SrcPort: 50000, DstPort: 6081}
	must(t, outerUDP.SetNetworkLayerForChecksum(outer))
	const headers = 14 + 20 + 8 + 8 + 12 + 14 + 20 + 8
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: mac(1), DstMAC: mac(2), EthernetType: layers.EthernetTypeIPv4},
		outer, outerUDP,
		&layers.Geneve{CriticalOption: true, Protocol: layers.EthernetTypeTransparentEthernetBridging, VNI: vni,
			Options: []*layers.GeneveOption{{Class: lab.OptionClass, Type: lab.OptionType, Data: option.Bytes()}}},
		&layers.Ethernet{SrcMAC: mac(3), DstMAC: mac(4), EthernetType: layers.EthernetTypeIPv4},
		inner, innerUDP,
		gopacket.Payload(bytes.Repeat([]byte{0x5a}, size-headers))))
	return b.Bytes()
}
