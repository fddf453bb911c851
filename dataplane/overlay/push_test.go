package overlay_test

import (
	"encoding/hex"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/offload/offloadtest"
	"baton/dataplane/overlay"
	"baton/dataplane/stats"
)

func TestPushGolden(t *testing.T) {
	b := newBuf(t, innerFrame(18))
	if r := peerEnd(t).Push(b, &tunnel, 0x1234); r != stats.DropNone {
		t.Fatal(r)
	}
	want := "" +
		"020000000001" + "020000000002" + "0800" + // Ethernet: to us, from the peer, IPv4
		"45000042" + "00004000" + "4011b6a7" + "c0000202" + "c0000201" + // 66 bytes, DF, TTL 64, UDP
		"d234" + "17c1" + "002e" + "0000" + // UDP: 49152+0x1234, 6081, 46 bytes, no checksum
		"03406558" + "abcdef00" + // Geneve: 3 words of options, critical, Ethernet, VNI
		"ffee8002" + "1122" + "3344" + "0002" + "5566" + // the option
		"02aa00000009" + "02aa00000008" + "88b5" + "0e0f1011"
	if got := hex.EncodeToString(b.Data()); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

// TestPushAsAnotherSeesIt has a codec of other people read what Push wrote.
func TestPushAsAnotherSeesIt(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tun := drawTunnel(rt)
		inner := innerFrame(rapid.IntRange(14, 1452).Draw(rt, "size"))
		b := newBuf(t, inner)
		e := endpoint(t, 1500)
		if r := e.Push(b, &tun, rapid.Uint64().Draw(rt, "hash")); r != stats.DropNone {
			rt.Fatal(r)
		}
		p := gopacket.NewPacket(b.Data(), layers.LayerTypeEthernet, gopacket.Default)
		eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		ip4 := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		udp := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		g, ok := p.Layer(layers.LayerTypeGeneve).(*layers.Geneve)
		if !ok {
			rt.Fatalf("no Geneve in %v", p)
		}
		if flow.MAC(eth.DstMAC) != tun.MAC || flow.MAC(eth.SrcMAC) != ourMAC {
			rt.Errorf("Ethernet %v to %v", eth.SrcMAC, eth.DstMAC)
		}
		if !ip4.SrcIP.Equal(net.IPv4(192, 0, 2, 1)) || int(ip4.Length) != b.Len()-14 || ip4.Flags != layers.IPv4DontFragment || ip4.TTL != 64 {
			rt.Errorf("IPv4 %+v", ip4)
		}
		if err, r := ip4.VerifyChecksum(); err != nil || !r.Valid {
			rt.Errorf("IPv4 checksum: %v, %+v", err, r)
		}
		if udp.DstPort != 6081 || udp.SrcPort < 49152 || int(udp.Length) != b.Len()-34 || udp.Checksum != 0 {
			rt.Errorf("UDP %+v", udp)
		}
		if g.Version != 0 || g.OAMPacket || !g.CriticalOption || g.Protocol != layers.EthernetTypeTransparentEthernetBridging || g.VNI != tun.VNI || len(g.Options) != 1 {
			rt.Fatalf("Geneve %+v", g)
		}
		d := []byte{byte(tun.SrcPort >> 8), byte(tun.SrcPort), byte(tun.DstPort >> 8), byte(tun.DstPort),
			byte(tun.Flags >> 8), byte(tun.Flags), byte(tun.Command >> 8), byte(tun.Command)}
		if o := g.Options[0]; o.Class != 0xffee || o.Type != 0x80 || string(o.Data) != string(d) {
			rt.Errorf("option %+v, want data %x", o, d)
		}
		if string(g.Payload) != string(inner) {
			rt.Error("the inner frame has changed")
		}
	})
}

func drawTunnel(rt *rapid.T) action.Tunnel {
	return action.Tunnel{
		VNI: rapid.Uint32Range(0, 1<<24-1).Draw(rt, "vni"), Dst: rapid.Uint32().Draw(rt, "dst"), MAC: peerMAC,
		SrcPort: rapid.Uint16().Draw(rt, "src port"), DstPort: rapid.Uint16().Draw(rt, "dst port"),
		Flags: rapid.Uint16().Draw(rt, "flags"), Command: rapid.Uint16().Draw(rt, "command"),
	}
}

// TestRoundTrip: what one host puts in, the other takes out.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tun := drawTunnel(rt)
		tun.Dst, tun.MAC = ourIP, ourMAC
		inner := rapid.SliceOfN(rapid.Byte(), 14, 1452).Draw(rt, "inner")
		b := newBuf(t, inner)
		if r := peerEnd(t).Push(b, &tun, rapid.Uint64().Draw(rt, "hash")); r != stats.DropNone {
			rt.Fatal(r)
		}
		k := flow.Key{EthType: 7}
		if v, r := endpoint(t, 1500).Receive(b, peers(), &k); v != overlay.Deliver {
			rt.Fatal(v, r)
		}
		want := flow.Key{
			InPort: flow.PortTunnel, VNI: tun.VNI, TunSrc: peerIP, SrcPort: tun.SrcPort, DstPort: tun.DstPort,
			Flags: tun.Flags, Command: tun.Command, EthType: 7,
		}
		if k != want || string(b.Data()) != string(inner) || b.Len() != len(inner) || b.Headroom() != buf.Headroom {
			rt.Errorf("key %v, want %v; frame of %d bytes, want %d", k, want, b.Len(), len(inner))
		}
	})
}

func TestPushLimits(t *testing.T) {
	e := endpoint(t, 1500)
	fits := newBuf(t, innerFrame(1438+14))
	if r := e.Push(fits, &tunnel, 0); r != stats.DropNone || fits.Len() != 1514 {
		t.Errorf("frame with 1438 bytes of L3: %v, outer frame of %d bytes; want none, 1514", r, fits.Len())
	}
	large := newBuf(t, innerFrame(1438+15))
	if r := e.Push(large, &tunnel, 0); r != stats.DropTooBig || large.Len() != 1453 {
		t.Errorf("frame with 1439 bytes of L3: %v, %d bytes; want too_big and no change", r, large.Len())
	}
	cramped := newBuf(t, innerFrame(100))
	cramped.Prepend(buf.Headroom - 61)
	if r := e.Push(cramped, &tunnel, 0); r != stats.DropNoHeadroom || cramped.Headroom() != 61 {
		t.Errorf("61 bytes of headroom: %v, %d left; want no_headroom and no change", r, cramped.Headroom())
	}
}

// TestSourcePortSpreads: NICs spread load by nothing else.
func TestSourcePortSpreads(t *testing.T) {
	seen := map[uint16]int{}
	for i := range uint64(4096) {
		k := flow.Key{L4Src: uint16(i)}
		seen[overlay.SourcePort(flow.Hash(&k, 1))]++
	}
	if len(seen) < 3000 {
		t.Errorf("4096 flows share %d source ports", len(seen))
	}
}

func TestAllocatesNothing(t *testing.T) {
	e, p := endpoint(t, 1500), peers()
	peer := peerEnd(t)
	b := newBuf(t, innerFrame(64))
	var k flow.Key
	got := testing.AllocsPerRun(100, func() {
		if r := peer.Push(b, &tunnel, 9); r != stats.DropNone {
			t.Fatal(r)
		}
		if v, r := e.Receive(b, p, &k); v != overlay.Deliver {
			t.Fatal(r)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// TestPushBurst_allocs: a train, another tunnel, a frame with work left and one that is too
// big are pushed, and what has been is received, without an allocation.
func TestPushBurst_allocs(t *testing.T) {
	e, p := endpoint(t, 1500), peers()
	peer := peerEnd(t)
	other := tunnel
	other.VNI++
	c := buftest.NewCache(t, 8)
	var v buf.Vec
	var tunnels [buf.Burst]*action.Tunnel
	var hashes [buf.Burst]uint64
	var reasons [buf.Burst]stats.DropReason
	var k flow.Key
	const num, asks, tooBig = 6, 4, 5
	for i := range num {
		v[i], tunnels[i] = c.Alloc(), &tunnel
		v[i].SetFrame(innerFrame(64))
	}
	tunnels[3] = &other
	c.Free(v[asks])
	v[asks] = offloadtest.Ask(c, hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoTCP, Payload: make([]byte, 100)}.Bytes(), 0, 2048)
	flags, lengths := v[asks].OlFlags, v[asks].Lengths()
	v[tooBig].SetFrame(innerFrame(1600))
	got := testing.AllocsPerRun(100, func() {
		v[asks].OlFlags = flags
		v[asks].SetLengths(lengths)
		peer.PushBurst(&v, 1<<num-1, &tunnels, &hashes, &reasons)
		for i := range tooBig {
			if verdict, r := e.Receive(v[i], p, &k); reasons[i] != stats.DropNone || verdict != overlay.Deliver {
				t.Fatal(i, reasons[i], r)
			}
		}
		if reasons[tooBig] != stats.DropTooBig {
			t.Fatal(reasons[tooBig])
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
	c.FreeAll(&v, num)
}

// TestReceive_allocs: nor does what goes the plain way allocate, whatever becomes of it.
func TestReceive_allocs(t *testing.T) {
	e, p := endpoint(t, 1500), peers()
	good := outerFrame(t, innerFrame(64))
	stranger := append([]byte(nil), good...)
	stranger[atIP+15] = 99
	fixIP(stranger)
	b := newBuf(t, good)
	var k flow.Key
	for name, c := range map[string]struct {
		frame []byte
		want  overlay.Verdict
	}{
		"unknown option": {withOptions(good, append([]byte{1, 2, 3, 0}, good[atOption:atInner]...)), overlay.Deliver},
		"ARP":            {arpRequest(t, ourIP), overlay.Reply},
		"echo":           {echoRequest(t), overlay.Reply},
		"a stranger":     {stranger, overlay.Drop},
		"nothing":        {nil, overlay.Drop},
	} {
		got := testing.AllocsPerRun(100, func() {
			b.SetFrame(c.frame)
			if v, r := e.Receive(b, p, &k); v != c.want {
				t.Fatal(name, v, r)
			}
		})
		if got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}
