package e2e_test

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"baton/test/cluster"
	"baton/test/lab"
)

var mutationSeed = flag.Uint64("mutation-seed", 1, "of the random tunnel packets")

// Offsets in a tunnel packet with baton's option.
const (
	atIP     = 14
	atUDP    = atIP + 20
	atGeneve = atUDP + 8
	atOption = atGeneve + 8
	atInner  = atOption + 12
)

// tunnelSpec is a tunnel packet that a stranger makes.
type tunnelSpec struct {
	ToMAC    net.HardwareAddr
	From, To string // outer addresses
	VNI      uint32
	Option   lab.Option
	Inner    []byte
}

// Bytes is the packet, as a host would have made it.
func (s tunnelSpec) Bytes() []byte {
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 0x77}, DstMAC: s.ToMAC, EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, Flags: layers.IPv4DontFragment,
		SrcIP: netip.MustParseAddr(s.From).AsSlice(), DstIP: netip.MustParseAddr(s.To).AsSlice()}
	udp := &layers.UDP{SrcPort: 50000, DstPort: 6081}
	geneve := binary.BigEndian.AppendUint32([]byte{0x03, 0x40, 0x65, 0x58}, s.VNI<<8)
	geneve = append(geneve, 0xff, 0xee, 0x80, 2)
	geneve = append(append(geneve, s.Option.Bytes()...), s.Inner...)
	b := gopacket.NewSerializeBuffer()
	// The UDP checksum stays 0, which Geneve over IPv4 allows.
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{}, gopacket.Payload(geneve)); err != nil {
		panic(err)
	}
	if err := udp.SerializeTo(b, gopacket.SerializeOptions{FixLengths: true}); err != nil {
		panic(err)
	}
	fix := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := ip.SerializeTo(b, fix); err != nil {
		panic(err)
	}
	if err := eth.SerializeTo(b, fix); err != nil {
		panic(err)
	}
	return slices.Clone(b.Bytes())
}

// fixOuter makes the outer lengths and the IPv4 checksum those of the frame.
func fixOuter(f []byte) []byte {
	binary.BigEndian.PutUint16(f[atIP+2:], uint16(len(f)-atIP))
	binary.BigEndian.PutUint16(f[atUDP+4:], uint16(len(f)-atUDP))
	return fixSum(f)
}

// fixSum makes the outer IPv4 checksum right.
func fixSum(f []byte) []byte {
	binary.BigEndian.PutUint16(f[atIP+10:], 0)
	sum := uint32(0)
	for i := atIP; i < atUDP; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(f[atIP+10:], ^uint16(sum>>16+sum))
	return f
}

// withOptions puts other options into a tunnel packet.
func withOptions(good []byte, options ...byte) []byte {
	f := slices.Concat(good[:atOption], options, good[atInner:])
	f[atGeneve] = byte(len(options) / 4)
	return fixOuter(f)
}

// hostilePacket is a packet from the underlay and why it must be dropped.
type hostilePacket struct {
	name, reason string
	frame        []byte
}

// hostilePackets are edits of a good packet. Fragments are not among them: the
// kernel keeps them for reassembly before DPDK's net_af_packet sees them
// (PACKET_FANOUT_FLAG_DEFRAG); the overlay's own tests have them.
func hostilePackets(good tunnelSpec) []hostilePacket {
	edit := func(f func(b []byte)) []byte {
		b := good.Bytes()
		f(b)
		return fixSum(b)
	}
	with := func(f func(s *tunnelSpec)) []byte {
		s := good
		f(&s)
		return s.Bytes()
	}
	plain := good.Bytes()
	ours := plain[atOption:atInner]
	return []hostilePacket{
		{"VNI nobody has", "unknown_datapath", with(func(s *tunnelSpec) { s.VNI = 0xfffffe })},
		{"VNI 0", "unknown_datapath", with(func(s *tunnelSpec) { s.VNI = 0 })},
		{"VNI of the router", "unknown_datapath", with(func(s *tunnelSpec) { s.VNI = 1003 })},
		{"port of another host", "unknown_port", with(func(s *tunnelSpec) { s.Option.DstPort = 13 })},
		{"port nobody has", "unknown_port", with(func(s *tunnelSpec) { s.Option.DstPort = 0xffff })},
		{"port of another switch", "unknown_port", with(func(s *tunnelSpec) { s.VNI = 1002 })},
		{"no option", "unknown_port", withOptions(plain)},
		{"from a stranger", "unknown_tunnel_source", with(func(s *tunnelSpec) { s.From = "192.168.100.99" })},
		{"from the host itself", "outer_bad", with(func(s *tunnelSpec) { s.From = s.To })},
		{"from a group", "outer_bad", with(func(s *tunnelSpec) { s.From = "224.0.0.1" })},
		{"to another address", "not_for_us", with(func(s *tunnelSpec) { s.To = "192.168.100.99" })},
		{"to another UDP port", "not_for_us", edit(func(b []byte) { b[atUDP+3]++ })},
		{"Geneve version 1", "geneve_version", edit(func(b []byte) { b[atGeneve] |= 0x40 })},
		{"Geneve version 3", "geneve_version", edit(func(b []byte) { b[atGeneve] |= 0xc0 })},
		{"OAM", "geneve_oam", edit(func(b []byte) { b[atGeneve+1] |= 0x80 })},
		{"IPv4 inside", "geneve_protocol", edit(func(b []byte) { b[atGeneve+2], b[atGeneve+3] = 0x08, 0x00 })},
		{"options longer than the packet", "geneve_options", edit(func(b []byte) { b[atGeneve] = 63 })},
		{"options end in ours", "geneve_options", edit(func(b []byte) { b[atGeneve] = 2 })},
		{"option longer than the options", "geneve_options", edit(func(b []byte) { b[atOption+3] = 31 })},
		{"our option twice", "geneve_options", withOptions(plain, slices.Concat(ours, ours)...)},
		{"our option with 4 bytes", "geneve_options", withOptions(plain, 0xff, 0xee, 0x80, 1, 0, 13, 0, 11)},
		{"another critical option", "geneve_critical", withOptions(plain, slices.Concat(ours, []byte{1, 2, 0x81, 0})...)},
		{"IPv4 checksum wrong", "outer_bad", func() []byte { b := good.Bytes(); b[atIP+10] ^= 1; return b }()},
		{"IPv4 header with options", "outer_bad", edit(func(b []byte) { b[atIP] = 0x46 })},
		{"IPv4 longer than the frame", "outer_bad", edit(func(b []byte) { binary.BigEndian.PutUint16(b[atIP+2:], 1500) })},
		{"IPv4 of 0 bytes", "outer_bad", edit(func(b []byte) { binary.BigEndian.PutUint16(b[atIP+2:], 0) })},
		{"UDP longer than IPv4", "outer_bad", edit(func(b []byte) { binary.BigEndian.PutUint16(b[atUDP+4:], 1500) })},
		{"UDP of 0 bytes", "outer_bad", edit(func(b []byte) { binary.BigEndian.PutUint16(b[atUDP+4:], 0) })},
		{"UDP checksum wrong", "outer_bad", edit(func(b []byte) { b[atUDP+6] = 1 })},
		{"no frame inside", "short_frame", fixOuter(good.Bytes()[:atInner])},
		{"half a MAC inside", "short_frame", fixOuter(good.Bytes()[:atInner+9])},
		{"IPv4 cut inside", "short_frame", fixOuter(good.Bytes()[:atInner+20])},
		{"IPv4 version 7 inside", "bad_ipv4", edit(func(b []byte) { b[atInner+14] = 0x75 })},
	}
}

// copies of each hostile packet: a count of one could be anybody's.
const copies = 5

// TestUnderlayHostile has a stranger on the underlay: what it sends is dropped
// for the right reason, nothing of it reaches a VM, and everybody else goes on.
func TestUnderlayHostile(t *testing.T) {
	c, h1, h2 := twoHosts(t)
	a, x := attachVM(t, c, h1, vm1), attachVM(t, c, h2, vm3)
	raw, good := stranger(t, c, h1)

	// The packet that all others are edits of is a good one.
	must(t, raw.Send(good.Bytes()))
	a.expect(t, good.Inner)

	for _, p := range hostilePackets(good) {
		before := dropCount(t, h1, p.reason)
		for range copies {
			must(t, raw.Send(p.frame))
		}
		waitFor(t, c, "drops of "+p.reason+" for "+p.name, func() bool { return dropCount(t, h1, p.reason) >= before+copies })
		a.expectNothing(t)
		if n := dropCount(t, h1, p.reason); n != before+copies {
			t.Errorf("%s: %d drops of %s, want %d", p.name, n-before, p.reason, copies)
		}
	}
	checkCutPackets(t, c, h1, raw, good.Bytes())
	a.expectNothing(t)
	checkNestedTunnel(t, h1, a, raw, good)

	// All goes on as before.
	pingPong(t, a, x)
}

// stranger is a machine on the underlay that is no host, and a good packet: it
// says that it comes from host2's vm3, for vm1.
func stranger(t *testing.T, c *cluster.Cluster, to *cluster.Host) (*lab.RawPort, tunnelSpec) {
	t.Helper()
	n, err := c.Lab.Netns("stranger")
	must(t, err)
	must(t, c.Bridge.Attach(n, "eth0", nil))
	raw, err := n.RawPort("eth0")
	must(t, err)
	mac, err := to.Netns.MAC("eth0")
	must(t, err)
	return raw, tunnelSpec{
		ToMAC: mac, From: underlayIP["host2"], To: underlayIP[to.Name], VNI: 1001, Option: lab.Option{SrcPort: 13, DstPort: 11},
		Inner: frameSpec{Src: vm3, Dst: vm1, SrcPort: 1, DstPort: 9, ID: 1}.Bytes(),
	}
}

// pingPong has two VMs of one switch send to each other.
func pingPong(t *testing.T, a, b *simVM) {
	t.Helper()
	for i := range uint16(20) {
		there := frameSpec{Src: a.endpoint, Dst: b.endpoint, SrcPort: 1, DstPort: 9, ID: i}.Bytes()
		back := frameSpec{Src: b.endpoint, Dst: a.endpoint, SrcPort: 9, DstPort: 1, ID: i}.Bytes()
		a.send(t, there)
		b.expect(t, there)
		b.send(t, back)
		a.expect(t, back)
	}
}

// checkCutPackets sends a good packet cut at every byte that a raw socket sends.
func checkCutPackets(t *testing.T, c *cluster.Cluster, h *cluster.Host, raw *lab.RawPort, good []byte) {
	t.Helper()
	before, err := h.Stats()
	must(t, err)
	cuts := uint64(0)
	for n := 14; n < len(good); n++ {
		must(t, raw.Send(good[:n]))
		cuts++
	}
	waitFor(t, c, "drops of all cut packets", func() bool {
		s, err := h.Stats()
		return err == nil && s.Dropped >= before.Dropped+cuts
	})
	after, err := h.CheckConserved()
	must(t, err)
	bad := after.Drops["outer_bad"] + after.Drops["short_frame"] - before.Drops["outer_bad"] - before.Drops["short_frame"]
	if after.Dropped != before.Dropped+cuts || bad != cuts {
		t.Errorf("%d of %d cut packets dropped, %d as short or bad", after.Dropped-before.Dropped, cuts, bad)
	}
}

// checkNestedTunnel wraps tunnel packets: only the outermost header is the
// host's business, and what a VM sends is never taken for one.
func checkNestedTunnel(t *testing.T, h *cluster.Host, vm *simVM, raw *lab.RawPort, good tunnelSpec) {
	t.Helper()
	nested := good
	nested.Inner = good.Bytes()
	must(t, raw.Send(nested.Bytes()))
	vm.expect(t, good.Bytes()) // as it is, unopened

	before := dropCount(t, h, "unknown_mac")
	fromVM := good
	fromVM.From = underlayIP["host2"]
	vm.send(t, fromVM.Bytes())
	waitDrops(t, vm.c, h, "unknown_mac", before+1)
	vm.expectNothing(t)
}

// TestUnderlayMutations throws thousands of tunnel packets with random damage at
// a host while VMs talk: it must count each of them and go on.
func TestUnderlayMutations(t *testing.T) {
	t.Logf("-mutation-seed %d", *mutationSeed)
	random := rand.New(rand.NewPCG(*mutationSeed, 0))
	c, h1, h2 := twoHosts(t)
	a, x := attachVM(t, c, h1, vm1), attachVM(t, c, h2, vm3)
	raw, good := stranger(t, c, h1)
	plain := good.Bytes()

	const rounds, burst = 100, 50 // bursts fit the NIC's ring
	sent := uint64(0)
	for range rounds {
		for range burst {
			must(t, raw.Send(mutated(random, plain)))
		}
		sent += burst
		waitFor(t, c, "all that was sent to "+h1.Name, func() bool { return rxPackets(t, h1, "underlay") >= sent })
	}
	stats, err := h1.CheckConserved()
	must(t, err)
	if n := rxPackets(t, h1, "underlay"); n != sent {
		t.Errorf("%s received %d packets, want %d", h1.Name, n, sent)
	}
	if stats.Dropped < sent/2 || stats.Dropped == sent {
		t.Errorf("%d of %d packets dropped: the mutations are too harmless or too harmful to mean anything", stats.Dropped, sent)
	}
	t.Logf("%d packets: dropped %v", sent, stats.Drops)
	a.take()
	pingPong(t, a, x)
}

// mutated is a copy of a packet with one to four bytes of it changed, behind the
// outer Ethernet header, and mostly a right checksum: the bridge has opinions on
// the one, and a wrong one of the other would hide all else.
func mutated(random *rand.Rand, packet []byte) []byte {
	b := slices.Clone(packet)
	for range 1 + random.IntN(4) {
		at := atIP + random.IntN(len(b)-atIP)
		if at == atIP+6 || at == atIP+7 {
			continue // a fragment: see hostilePackets
		}
		if random.IntN(2) == 0 {
			b[at] ^= 1 << random.IntN(8)
		} else {
			b[at] = byte(random.Uint32())
		}
	}
	if random.IntN(8) != 0 {
		fixSum(b)
	}
	if random.IntN(8) == 0 {
		b = b[:14+random.IntN(len(b)-14)]
	}
	return b
}

// rxPackets is how many packets came in by a port.
func rxPackets(t testing.TB, h *cluster.Host, port string) uint64 {
	t.Helper()
	return portOf(t, h, port).RxPackets
}
