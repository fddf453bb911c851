package lab_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"baton/test/lab"
)

// Two Open vSwitches of the lab ping through Geneve with our option: what the
// interoperability tests stand on.
func TestTwoOpenVSwitches(t *testing.T) {
	l := lab.ForTest(t)
	bridge, err := l.Underlay("underlay", 1600)
	must(t, err)
	capture, err := l.Capture(lab.CaptureConfig{Name: "underlay-capture", Netns: bridge.Netns, Ifname: bridge.Name, Filter: "udp port 6081"})
	must(t, err)
	const vni = 0xabcde
	there := lab.Option{SrcPort: 1, DstPort: 2, Command: 0x0102}
	back := lab.Option{SrcPort: 2, DstPort: 1, Flags: 1}
	left := newFarEnd(t, l, bridge, "left", 1)
	right := newFarEnd(t, l, bridge, "right", 2)
	must(t, left.port.Send(lab.Tunnel{Peer: right.addr, VNI: vni, Option: there}))
	must(t, right.port.Send(lab.Tunnel{Peer: left.addr, VNI: vni, Option: back}))
	inRight, err := right.port.Accept(lab.Tunnel{Peer: left.addr, VNI: vni, Option: there})
	must(t, err)
	inLeft, err := left.port.Accept(lab.Tunnel{VNI: vni, Option: back})
	must(t, err)
	for _, pair := range [][2]farEnd{{left, right}, {right, left}} {
		mac, ip, err := pair[1].ovs.VTEP()
		must(t, err)
		must(t, pair[0].ovs.SetNeighbour(ip, mac))
	}

	out, err := l.Run(30*time.Second, left.port.Netns, "busybox", "ping", "-c", "5", "-W", "2", "-A", "10.9.0.2")
	must(t, err)
	if !strings.Contains(out, "5 packets transmitted, 5 packets received") {
		t.Fatalf("ping:\n%s", out)
	}
	const packets = 6 // five echoes and one ARP each way
	must(t, right.ovs.WaitArrived(inRight, packets, 5*time.Second))
	must(t, left.ovs.WaitArrived(inLeft, packets, 5*time.Second))

	// A frame with another option must be counted as unwanted, or Accept proves nothing.
	must(t, left.port.Send(lab.Tunnel{Peer: right.addr, VNI: vni, Option: lab.Option{SrcPort: 9, DstPort: 9}}))
	raw, err := left.port.Netns.RawPort("eth0")
	must(t, err)
	must(t, raw.Send(make([]byte, 64)))
	must(t, l.WaitFor("unmatched packet", 5*time.Second, func() bool {
		n, err := right.ovs.Unmatched()
		return err == nil && n > 0
	}))

	must(t, capture.Stop())
	checkCapture(t, l, capture.File, vni, there, back)
}

func checkCapture(t *testing.T, l *lab.Lab, file string, vni uint32, there, back lab.Option) {
	t.Helper()
	seen, err := l.Dissect(file, "icmp")
	must(t, err)
	if len(seen) != 10 {
		t.Fatalf("%d echo packets on the underlay, want 10", len(seen))
	}
	for _, p := range seen {
		want := there
		if p.IPSrc[0] == "192.168.100.2" {
			want = back
		}
		if o, ok := p.Baton(); !ok || o != want || p.VNI != vni || !p.Critical || p.Malformed {
			t.Errorf("packet %+v: option %+v, want %+v", p, o, want)
		}
	}
}

type farEnd struct {
	ovs  *lab.OVS
	port *lab.OVSPort
	addr netip.Addr
}

func newFarEnd(t *testing.T, l *lab.Lab, bridge *lab.Bridge, name string, number byte) farEnd {
	t.Helper()
	n, err := l.Netns(name)
	must(t, err)
	must(t, bridge.Attach(n, "eth0", nil))
	addr := netip.AddrFrom4([4]byte{192, 168, 100, number})
	ovs, err := l.StartOVS(lab.OVSConfig{Name: name + "-ovs", Netns: n, Ifname: "eth0", Address: netip.PrefixFrom(addr, 24)})
	must(t, err)
	port, err := ovs.AddPort("vm", net.HardwareAddr{2, 0, 0, 0, 9, number}, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, number}), 24))
	must(t, err)
	return farEnd{ovs, port, addr}
}
