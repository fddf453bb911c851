package compile_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"baton/dataplane/stats"
)

// TestEveryPairTalks resolves and pings between all VMs of the example, over the
// tables as they are compiled for both hosts.
func TestEveryPairTalks(t *testing.T) {
	l := newLab(t, firstLight(t))
	vms := []string{"vm1", "vm2", "vm3", "vm4"}
	for _, from := range vms {
		for _, to := range vms {
			if from == to {
				continue
			}
			src, dst := l.state.Ports[from], l.state.Ports[to]
			routed := src.Switch != dst.Switch
			next, wantTTL := l.ip(to), uint8(64)
			if routed {
				next, wantTTL = l.gateway(from), 63
			}
			wantTunnels := 0
			if src.Host != dst.Host {
				wantTunnels = 1
			}
			o := l.send(from, l.ping(from, l.resolve(from, next), l.ip(to), 64))
			if o.port != to || o.tunnels != wantTunnels {
				t.Errorf("%s to %s: %s, want %d tunnels", from, to, o, wantTunnels)
				continue
			}
			p := gopacket.NewPacket(o.frame, layers.LayerTypeEthernet, gopacket.Default)
			eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
			ip := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			if eth.DstMAC.String() != l.mac(to).String() || ip.TTL != wantTTL {
				t.Errorf("%s to %s: destination MAC %s, TTL %d; want %s, %d", from, to, eth.DstMAC, ip.TTL, l.mac(to), wantTTL)
			}
			if wantSrc := l.mac(from); routed == (eth.SrcMAC.String() == wantSrc.String()) {
				t.Errorf("%s to %s: source MAC %s", from, to, eth.SrcMAC)
			}
		}
	}
}

// TestGatewaysAnswer pings the router's own port, and the one on the other side.
func TestGatewaysAnswer(t *testing.T) {
	l := newLab(t, firstLight(t))
	for _, vm := range []string{"vm1", "vm3", "vm4"} {
		for _, gw := range []string{"r1-blue", "r1-green"} {
			o := l.send(vm, l.ping(vm, l.resolve(vm, l.gateway(vm)), l.ip(gw), 1+1))
			if o.port != vm || o.tunnels != 0 {
				t.Errorf("%s pings %s: %s", vm, gw, o)
				continue
			}
			p := gopacket.NewPacket(o.frame, layers.LayerTypeEthernet, gopacket.Default)
			ip := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			icmp := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			// 255 less the one router on its way back, which is the one that answers.
			if ip.SrcIP.String() != l.ip(gw).String() || ip.TTL != 254 || icmp.TypeCode.Type() != layers.ICMPv4TypeEchoReply || icmp.Seq != 9 {
				t.Errorf("%s pings %s: answer from %s, TTL %d, %s", vm, gw, ip.SrcIP, ip.TTL, icmp.TypeCode)
			}
		}
	}
}

// TestStaticRoute sends to a prefix behind a VM, and across two routers.
func TestStaticRoute(t *testing.T) {
	l := newLab(t, firstLight(t))
	gw := l.resolve("vm1", l.gateway("vm1"))
	if o := l.send("vm1", l.ping("vm1", gw, netip.MustParseAddr("10.9.1.1"), 9)); o.port != "vm4" || o.tunnels != 1 {
		t.Errorf("by the route to vm4: %s", o)
	}
}

// TestDrops has the reasons, each with the packet that earns it.
func TestDrops(t *testing.T) {
	l := newLab(t, firstLight(t))
	gw := l.mac("r1-blue")
	addr := netip.MustParseAddr
	udp := func(from string, dst netip.Addr) []byte {
		return build(t,
			&layers.Ethernet{SrcMAC: l.mac(from), DstMAC: gw, EthernetType: layers.EthernetTypeIPv4},
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: l.ip(from).AsSlice(), DstIP: dst.AsSlice()},
			gopacket.Payload("\x00\x07\x00\x07\x00\x08\x00\x00"))
	}
	fragment := build(t,
		&layers.Ethernet{SrcMAC: l.mac("vm1"), DstMAC: gw, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4MoreFragments, Protocol: layers.IPProtocolICMPv4, SrcIP: l.ip("vm1").AsSlice(), DstIP: l.ip("r1-blue").AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)}, gopacket.Payload("12345678"))
	ipv6 := build(t,
		&layers.Ethernet{SrcMAC: l.mac("vm1"), DstMAC: gw, EthernetType: layers.EthernetTypeIPv6},
		&layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolNoNextHeader, SrcIP: net.ParseIP("fe80::1"), DstIP: net.ParseIP("fe80::2")})
	cases := []struct {
		name  string
		frame []byte
		want  stats.DropReason
	}{
		{"unknown unicast", l.ping("vm1", net.HardwareAddr{2, 9, 9, 9, 9, 9}, l.ip("vm2"), 64), stats.DropUnknownMAC},
		{"broadcast", l.ping("vm1", layers.EthernetBroadcast, addr("10.0.1.255"), 64), stats.DropUnknownMAC},
		{"ARP for nobody", l.ask("vm1", l.ip("vm1"), addr("10.0.1.99")), stats.DropUnknownARPTarget},
		{"ARP for another switch", l.ask("vm1", l.ip("vm1"), l.ip("vm4")), stats.DropUnknownARPTarget},
		{"ARP announcement", l.ask("vm1", l.ip("vm1"), l.ip("vm1")), stats.DropUnknownARPTarget},
		{"ARP probe for its own", l.ask("vm1", netip.IPv4Unspecified(), l.ip("vm1")), stats.DropUnknownARPTarget},
		{"to itself", l.ping("vm1", l.mac("vm1"), l.ip("vm1"), 64), stats.DropSamePort},
		{"TTL 1 at the router", l.ping("vm1", gw, l.ip("vm4"), 1), stats.DropTTLExpired},
		{"no route", l.ping("vm1", gw, addr("192.0.2.1"), 64), stats.DropNoRoute},
		{"nobody on the subnet", l.ping("vm1", gw, addr("10.0.2.99"), 64), stats.DropUnknownNeighbour},
		{"subnet broadcast", l.ping("vm1", gw, addr("10.0.2.255"), 64), stats.DropUnknownNeighbour},
		{"for the router", udp("vm1", l.ip("r1-green")), stats.DropForRouter},
		{"fragment for the router", fragment, stats.DropForRouter},
		{"IPv6 at the router", ipv6, stats.DropNotIP},
	}
	for _, c := range cases {
		if o := l.send("vm1", c.frame); o.port != "" || o.reason != c.want {
			t.Errorf("%s: %s, want %s", c.name, o, c.want)
		}
	}
	// Whoever else probes for an address that is taken is told so (RFC 5227, 2.1.1).
	if o := l.send("vm2", l.ask("vm2", netip.IPv4Unspecified(), l.ip("vm1"))); o.port != "vm2" {
		t.Errorf("probe of another: %s", o)
	}
}

// TestWireDrops has what comes out of a tunnel and is not wanted.
func TestWireDrops(t *testing.T) {
	l := newLab(t, firstLight(t))
	blue, vm1 := l.state.Switches["blue"].ID(), l.state.Ports["vm1"].SwitchID()
	known := netip.MustParseAddr("192.168.100.2")
	cases := []struct {
		name string
		from netip.Addr
		vni  uint32
		port uint16
		want stats.DropReason
	}{
		{"good", known, blue, vm1, stats.DropNone},
		{"stranger", netip.MustParseAddr("192.168.100.66"), blue, vm1, stats.DropUnknownTunnelSource},
		{"itself", netip.MustParseAddr("192.168.100.1"), blue, vm1, stats.DropUnknownTunnelSource},
		{"unknown VNI", known, 999, vm1, stats.DropUnknownDatapath},
		{"a router's VNI", known, l.state.Routers["r1"].ID(), 1, stats.DropUnknownDatapath},
		{"port of another host", known, blue, l.state.Ports["vm3"].SwitchID(), stats.DropUnknownPort},
		{"no port", known, blue, 0, stats.DropUnknownPort},
	}
	for _, c := range cases {
		key := tunnelKey(c.from, c.vni, c.port)
		o := l.walk("host1", key, l.ping("vm3", l.mac("vm1"), l.ip("vm1"), 64), 0)
		if o.reason != c.want || (o.port == "vm1") != (c.want == stats.DropNone) {
			t.Errorf("%s: %s, want %s", c.name, o, c.want)
		}
	}
}

// TestTwoRouters crosses both routers of the second network, and prefers the
// static over the connected route of equal length.
func TestTwoRouters(t *testing.T) {
	s := corners(t)
	l := newLab(t, s)
	// core routes all 10/8 but .2.4 to edge, edge sends it back: the walk, which does not know the TTL, gives up.
	if o := l.send("a", l.ping("a", l.mac("core-inner"), netip.MustParseAddr("10.7.7.7"), 20)); o.reason != stats.DropPipelineLoop {
		t.Errorf("routes in a circle: %s", o)
	}
	// To b leads the host route, by a itself: there and back through one port is a loop.
	if o := l.send("a", l.ping("a", l.mac("core-inner"), l.ip("b"), 64)); o.reason != stats.DropSamePort {
		t.Errorf("by the host route to a itself: %s", o)
	}
	s.Remove(s.Routes["same-as-connected"].Ref())
	l = newLab(t, s)
	o := l.send("a", l.ping("a", l.mac("core-inner"), l.ip("edge-transit"), 64))
	if o.port != "a" {
		t.Fatalf("a pings the far router: %s", o)
	}
	ip := gopacket.NewPacket(o.frame, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if ip.TTL != 253 { // 255 less edge and core
		t.Errorf("TTL of the far router's answer: %d", ip.TTL)
	}
	// near reaches far by its gateway; far has none and cannot answer.
	if o := l.send("a", l.ping("a", l.mac("b"), l.ip("b"), 64)); o.port != "b" || o.tunnels != 1 {
		t.Errorf("a to b: %s", o)
	}
	if o := l.send("b", l.ping("b", l.mac("a"), l.ip("a"), 64)); o.reason != stats.DropNoTunnel {
		t.Errorf("b to a: %s", o)
	}
}
