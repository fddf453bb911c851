package e2e_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"baton/test/cluster"
	"baton/test/lab"
	"baton/test/lab/guestwire"
)

// ovsBed is network with Open vSwitch as host2: host1's batond knows nothing
// but its address, its MAC and the ports that the model puts there.
type ovsBed struct {
	c    *cluster.Cluster
	h1   *cluster.Host
	ovs  *lab.OVS
	peer netip.Addr // host1's tunnel end point
}

func newOVSBed(t *testing.T) *ovsBed {
	t.Helper()
	b := &ovsBed{c: newCluster(t), peer: netip.MustParseAddr(underlayIP["host1"])}
	n, err := b.c.Lab.Netns("host2")
	must(t, err)
	must(t, b.c.Bridge.Attach(n, "eth0", nil))
	address := host2().Underlay
	b.ovs, err = b.c.Lab.StartOVS(lab.OVSConfig{Name: "ovs", Netns: n, Ifname: "eth0", Address: address, VMMTU: maxFrame - 14})
	must(t, err)
	mac, _, err := b.ovs.VTEP()
	must(t, err)
	line := "underlay: " + address.String() + "\n"
	startController(t, b.c, strings.Replace(network, line, line+fmt.Sprintf("mac: %v\n", mac), 1))
	b.h1 = startHost(t, b.c, host1())
	must(t, b.c.WaitInStep("host1"))
	mac, err = b.h1.Netns.MAC("eth0")
	must(t, err)
	must(t, b.ovs.SetNeighbour(b.peer, mac))
	return b
}

// port is a machine behind Open vSwitch that is e of the model, and raw access
// to its interface. Without an address its kernel says nothing of its own.
func (b *ovsBed) port(t *testing.T, name string, mac net.HardwareAddr, send lab.Tunnel) (*lab.OVSPort, *lab.RawPort) {
	t.Helper()
	p, err := b.ovs.AddPort(name, mac, netip.Prefix{})
	must(t, err)
	send.Peer = b.peer
	must(t, p.Send(send))
	raw, err := p.Netns.RawPort("eth0")
	must(t, err)
	return p, raw
}

// expectRaw waits until exactly the wanted frames came by a raw port, in any order.
func expectRaw(t *testing.T, raw *lab.RawPort, want [][]byte) {
	t.Helper()
	left := map[string]int{}
	for _, f := range want {
		left[string(f)]++
	}
	missing := len(want)
	_, err := raw.Recv(waitLimit, func(f []byte) bool {
		if left[string(f)]--; left[string(f)] < 0 {
			t.Errorf("unwanted frame of %d bytes: %s", len(f), describe(f))
		}
		missing--
		return missing == 0
	})
	must(t, err)
}

// manyFrames are frames of every protocol and of sizes from the shortest to the
// longest, from one VM to another, and what they are when they arrive.
func manyFrames(src, dst, via, out endpoint) (sent, arrived [][]byte) {
	id := uint16(0)
	for _, proto := range []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolTCP, layers.IPProtocolICMPv4} {
		for _, size := range []int{60, 61, 64, 65, 127, 128, 255, 512, 1024, 1280, 1500, 1514, maxFrame - 1, maxFrame} {
			id++
			spec := frameSpec{Src: src, Dst: dst, Via: via.MAC, Proto: proto, SrcPort: 1000 + id, DstPort: 9, ID: id, Len: size}
			sent = append(sent, spec.Bytes())
			if via.MAC != nil {
				spec = spec.Routed(out)
			}
			arrived = append(arrived, spec.Bytes())
		}
	}
	return sent, arrived
}

// TestOVSExchange sends frames of all sizes between baton's VMs and machines
// behind Open vSwitch, both ways; its flows match VNI and option to the bit.
func TestOVSExchange(t *testing.T) {
	b := newOVSBed(t)
	a, g := attachVM(t, b.c, b.h1, vm1), attachVM(t, b.c, b.h1, vm2)
	p3, raw3 := b.port(t, "vm3", vm3.MAC, lab.Tunnel{VNI: 1001, Option: lab.Option{SrcPort: 13, DstPort: 11}})
	p4, raw4 := b.port(t, "vm4", vm4.MAC, lab.Tunnel{VNI: 1002, Option: lab.Option{SrcPort: 14, DstPort: 12}})

	for _, leg := range []struct {
		name     string
		from     *simVM
		to       *lab.OVSPort
		raw      *lab.RawPort
		dst      endpoint
		via, out endpoint
		tunnel   lab.Tunnel
	}{
		{name: "same switch, blue", from: a, to: p3, raw: raw3, dst: vm3, tunnel: lab.Tunnel{VNI: 1001, Option: lab.Option{SrcPort: 11, DstPort: 13}}},
		{name: "same switch, green", from: g, to: p4, raw: raw4, dst: vm4, tunnel: lab.Tunnel{VNI: 1002, Option: lab.Option{SrcPort: 12, DstPort: 14}}},
		{name: "routed", from: a, to: p4, raw: raw4, dst: vm4, via: gwBlue, out: gwGreen, tunnel: lab.Tunnel{VNI: 1002, Option: lab.Option{SrcPort: 2, DstPort: 14}}},
	} {
		leg.tunnel.Peer = b.peer
		cookie, err := leg.to.Accept(leg.tunnel)
		must(t, err)
		sent, arrived := manyFrames(leg.from.endpoint, leg.dst, leg.via, leg.out)
		leg.from.send(t, sent...)
		expectRaw(t, leg.raw, arrived)
		must(t, b.ovs.WaitArrived(cookie, uint64(len(arrived)), waitLimit))
		if n, err := b.ovs.Arrived(cookie); err != nil || n != uint64(len(arrived)) {
			t.Errorf("%s: Open vSwitch took %d packets with this VNI and option, want %d: %v", leg.name, n, len(arrived), err)
		}
	}
	if n, err := b.ovs.Unmatched(); err != nil || n != 0 {
		t.Errorf("Open vSwitch got %d packets with another VNI or option: %v", n, err)
	}

	for _, back := range []struct {
		raw      *lab.RawPort
		src, dst endpoint
		to       *simVM
	}{{raw3, vm3, vm1, a}, {raw4, vm4, vm2, g}} {
		sent, arrived := manyFrames(back.src, back.dst, endpoint{}, endpoint{})
		for _, f := range sent {
			must(t, back.raw.Send(f))
		}
		back.to.expect(t, arrived...)
	}
	s, err := b.h1.CheckConserved()
	must(t, err)
	if s.Dropped != 0 {
		t.Errorf("dropped: %v", s.Drops)
	}
}

// TestOVSRefused has Open vSwitch send what a host must not take: each goes by
// its drop reason, and nothing is delivered.
func TestOVSRefused(t *testing.T) {
	b := newOVSBed(t)
	a := attachVM(t, b.c, b.h1, vm1)
	good := lab.Tunnel{VNI: 1001, Option: lab.Option{SrcPort: 13, DstPort: 11}}
	frame := frameSpec{Src: vm3, Dst: vm1, SrcPort: 1, DstPort: 9}.Bytes()
	const num = 20

	_, goodRaw := b.port(t, "good", vm3.MAC, good)
	must(t, goodRaw.Send(frame))
	a.expect(t, frame)

	for _, bad := range []struct {
		name, reason string
		tunnel       lab.Tunnel
	}{
		{"vni", "unknown_datapath", lab.Tunnel{VNI: 4242, Option: good.Option}},
		{"switch", "unknown_port", lab.Tunnel{VNI: 1002, Option: good.Option}},
		{"port", "unknown_port", lab.Tunnel{VNI: 1001, Option: lab.Option{SrcPort: 13, DstPort: 99}}},
		{"nooption", "unknown_port", lab.Tunnel{VNI: 1001, NoOption: true}},
		{"critical", "geneve_critical", lab.Tunnel{VNI: 1001, Option: good.Option, Stranger: true}},
	} {
		_, raw := b.port(t, bad.name, vm3.MAC, bad.tunnel)
		b.refused(t, raw, frame, bad.reason, num)
		a.expectNothing(t)
	}

	// Open vSwitch's address becomes one that is no host's.
	must(t, b.c.ApplyWait("{kind: Host, name: host2, underlay: 192.168.100.9/24, mac: \"02:00:00:00:00:09\"}"))
	b.refused(t, goodRaw, frame, "unknown_tunnel_source", num)
	a.expectNothing(t)
}

// refused sends a frame num times from a machine behind Open vSwitch and waits
// until host1 has dropped exactly that many for the reason.
func (b *ovsBed) refused(t *testing.T, raw *lab.RawPort, frame []byte, reason string, num uint64) {
	t.Helper()
	before, err := b.h1.Stats()
	must(t, err)
	for range num {
		must(t, raw.Send(frame))
	}
	waitDrops(t, b.c, b.h1, reason, before.Drops[reason]+num)
	after, err := b.h1.CheckConserved()
	must(t, err)
	if after.Dropped != before.Dropped+num {
		t.Errorf("%s: dropped %v, before %v", reason, after.Drops, before.Drops)
	}
}

// TestOVSKernels has two real kernels talk through baton and Open vSwitch: a
// QEMU guest at baton, a namespace behind Open vSwitch. ARP, ping, TCP.
func TestOVSKernels(t *testing.T) {
	b := newOVSBed(t)
	vm, err := b.c.Lab.StartGuest(lab.GuestConfig{Name: "vm1", NICs: []lab.NIC{{MAC: vm1.MAC, VhostSocket: b.h1.VhostSocket("vm1")}}})
	must(t, err)
	there := lab.Tunnel{Peer: b.peer, VNI: 1001, Option: lab.Option{SrcPort: 13, DstPort: 11}}
	p, err := b.ovs.AddPort("vm3", vm3.MAC, netip.PrefixFrom(vm3.IP, 24))
	must(t, err)
	must(t, p.Send(there))
	_, err = p.Accept(lab.Tunnel{Peer: b.peer, VNI: 1001, Option: lab.Option{SrcPort: 11, DstPort: 13}})
	must(t, err)
	must(t, vm.WaitReady(60*time.Second))
	must(t, b.h1.WaitPorts("vm1"))
	must(t, vm.Configure(guestwire.NetArgs{Link: "eth0", Addr: vm1.IP.String() + "/24", MTU: maxFrame - 14}))

	// The namespace asks for the guest by ARP through the tunnel.
	out, err := b.c.Lab.Run(waitLimit, p.Netns, "busybox", "ping", "-c", "10", "-A", "-W", "5", "-s", "1400", vm1.IP.String())
	must(t, err)
	if !strings.Contains(out, "10 packets transmitted, 10 packets received") {
		t.Errorf("ping of the guest:\n%s", out)
	}
	const largest = maxFrame - 14 - 20 - 8 // bytes of ICMP payload
	for _, size := range []int{8, 56, 1000, largest} {
		r, err := vm.Ping(guestwire.PingArgs{Dst: vm3.IP.String(), Count: 10, IntervalUs: 2000, Size: size, WaitMs: 5000, DF: true})
		must(t, err)
		if r.Received != 10 || r.Corrupt+r.Duplicates != 0 || r.TTL != 64 {
			t.Errorf("ping with %d bytes: %+v", size, r)
		}
	}
	// A file over TCP.
	if r, err := vm.Exec(waitLimit, "busybox", "httpd", "-h", "/bin"); err != nil || r.Code != 0 {
		t.Fatalf("httpd in the guest: %+v: %v", r, err)
	}
	file := b.c.Lab.Path("fetched")
	_, err = b.c.Lab.Run(60*time.Second, p.Netns, "busybox", "wget", "-q", "-O", file, "http://"+vm1.IP.String()+"/busybox")
	must(t, err)
	checkFetched(t, file)
	if n, err := b.ovs.Unmatched(); err != nil || n != 0 {
		t.Errorf("Open vSwitch got %d packets with another VNI or option: %v", n, err)
	}
}

// checkFetched compares a file with the busybox that the guest runs.
func checkFetched(t *testing.T, file string) {
	t.Helper()
	got, err := os.ReadFile(file)
	must(t, err)
	for _, dir := range []string{"/bin", "/usr/bin"} {
		if want, err := os.ReadFile(filepath.Join(dir, "busybox")); err == nil {
			if !bytes.Equal(got, want) {
				t.Errorf("fetched %d bytes, want %d, or other ones", len(got), len(want))
			}
			return
		}
	}
	t.Fatal("no busybox to compare with")
}
