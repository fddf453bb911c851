package compile_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/dataplane/action"
	"baton/dataplane/flow"
	"baton/dataplane/parse"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// lab is all hosts of a network with the production slow path, joined by an
// underlay that loses nothing.
type lab struct {
	t     *testing.T
	state *model.State
	hosts map[string]*pipeline.Pipeline
	down  map[string]bool // "host/port": the port's device takes no packets there
}

func newLab(t *testing.T, s *model.State) *lab {
	t.Helper()
	l := &lab{t, s, map[string]*pipeline.Pipeline{}, map[string]bool{}}
	for name := range s.Hosts {
		l.hosts[name] = pipeline.New()
		if _, err := l.hosts[name].Apply(compile.Host(s, name).Change()); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// outcome is what became of a frame.
type outcome struct {
	port    string // that got it, empty if it was dropped
	host    string // where that port's device is
	reason  stats.DropReason
	frame   []byte
	tunnels int // underlay hops
}

func (o outcome) String() string {
	if o.port == "" {
		return fmt.Sprintf("dropped (%s) after %d tunnels", o.reason, o.tunnels)
	}
	return fmt.Sprintf("to %s by %d tunnels", o.port, o.tunnels)
}

// send sends a frame out of a VM's port and follows it.
func (l *lab) send(port string, frame []byte) outcome {
	l.t.Helper()
	p := l.state.Ports[port]
	key := flow.Key{InPort: flow.LogicalPort(l.state.Switches[p.Switch].ID(), p.SwitchID())}
	return l.walk(p.Host, key, slices.Clone(frame), 0)
}

// sendOn sends a frame out of a VM's port on a host that the port is to move to, and
// also tells what that host hands up for it.
func (l *lab) sendOn(host, port string, frame []byte) (o outcome, punt uint32) {
	l.t.Helper()
	p := l.state.Ports[port]
	key := flow.Key{InPort: flow.LogicalPort(l.state.Switches[p.Switch].ID(), p.SwitchID())}
	parsed := key
	if reason := parse.Frame(frame, &parsed); reason != stats.DropNone {
		return outcome{reason: reason}, 0
	}
	var res pipeline.Result
	l.hosts[host].Snapshot().Walk(&parsed, &res)
	return l.walk(host, key, slices.Clone(frame), 0), res.Actions.Punt
}

// walk takes a frame through one host, and on through others.
func (l *lab) walk(host string, key flow.Key, frame []byte, tunnels int) outcome {
	l.t.Helper()
	if reason := parse.Frame(frame, &key); reason != stats.DropNone {
		return outcome{reason: reason, tunnels: tunnels}
	}
	var res pipeline.Result
	snap := l.hosts[host].Snapshot()
	snap.Walk(&key, &res)
	a := &res.Actions
	if a.Verdict == action.VerdictDrop {
		return outcome{reason: a.Reason, tunnels: tunnels}
	}
	if reason := action.Edit(frame, a); reason != stats.DropNone {
		return outcome{reason: reason, tunnels: tunnels}
	}
	if a.Verdict == action.VerdictOutput {
		b, ok := snap.BindingOf(a.Out)
		if !ok {
			l.t.Fatalf("%s: output to %s, which is not bound", host, a.Out)
		}
		if !l.down[host+"/"+b.Name] {
			return outcome{port: b.Name, host: host, frame: frame, tunnels: tunnels}
		}
		if a.Tunnel.Dst == 0 {
			return outcome{reason: stats.DropPortDown, tunnels: tunnels}
		}
	}
	if tunnels > 3 {
		l.t.Fatal("the frame goes round and round")
	}
	next := flow.Key{
		InPort: flow.PortTunnel, VNI: a.Tunnel.VNI, TunSrc: flow.IPv4(l.state.Hosts[host].Underlay.Addr),
		SrcPort: a.Tunnel.SrcPort, DstPort: a.Tunnel.DstPort, Flags: a.Tunnel.Flags, Command: a.Tunnel.Command,
	}
	for name, h := range l.state.Hosts {
		if flow.IPv4(h.Underlay.Addr) == a.Tunnel.Dst {
			return l.walk(name, next, frame, tunnels+1)
		}
	}
	l.t.Fatalf("%s: tunnel to %#x, which is no host", host, a.Tunnel.Dst)
	return outcome{}
}

func (l *lab) mac(port string) net.HardwareAddr {
	m := l.state.Ports[port].HW()
	return m[:]
}

func (l *lab) ip(port string) netip.Addr { return l.state.Ports[port].IP.Addr }

// build makes a frame with right lengths and checksums.
func build(t *testing.T, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// ping is an ICMP echo request.
func (l *lab) ping(from string, dstMAC net.HardwareAddr, dst netip.Addr, ttl uint8) []byte {
	l.t.Helper()
	return build(l.t,
		&layers.Ethernet{SrcMAC: l.mac(from), DstMAC: dstMAC, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: ttl, Protocol: layers.IPProtocolICMPv4, SrcIP: l.ip(from).AsSlice(), DstIP: dst.AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 7, Seq: 9},
		gopacket.Payload("are you there?"))
}

// ask is an ARP request.
func (l *lab) ask(from string, sender, target netip.Addr) []byte {
	l.t.Helper()
	return build(l.t,
		&layers.Ethernet{SrcMAC: l.mac(from), DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: l.mac(from), SourceProtAddress: sender.AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: target.AsSlice()})
}

// resolve asks for an address and returns the MAC of the answer.
func (l *lab) resolve(from string, target netip.Addr) net.HardwareAddr {
	l.t.Helper()
	o := l.send(from, l.ask(from, l.ip(from), target))
	if o.port != from {
		l.t.Fatalf("ARP request of %s for %s: %s", from, target, o)
	}
	arp, _ := gopacket.NewPacket(o.frame, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeARP).(*layers.ARP)
	if arp == nil || arp.Operation != layers.ARPReply || !slices.Equal(arp.SourceProtAddress, target.AsSlice()) {
		l.t.Fatalf("ARP request of %s for %s: answer %+v", from, target, arp)
	}
	return arp.SourceHwAddress
}

// gateway is the address of the router's port on the switch of a VM's port.
func (l *lab) gateway(port string) netip.Addr {
	for _, p := range l.state.Ports {
		if p.IsLink() && p.Switch == l.state.Ports[port].Switch && p.IP.Prefix().Contains(l.ip(port)) {
			return p.IP.Addr
		}
	}
	l.t.Fatalf("%s has no gateway", port)
	return netip.Addr{}
}
