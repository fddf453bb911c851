package gen_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"baton/bench/gen"
	"baton/dataplane/buf"
	"baton/dataplane/hdr"
)

func stream() gen.Stream {
	return gen.Stream{From: "a", Size: 64, Frame: gen.Frame{
		SrcMAC: gen.MAC{2, 0, 0, 0, 0, 1}, DstMAC: gen.MAC{2, 0, 0, 0, 0, 2},
		SrcIP: netip.MustParseAddr("10.0.0.1"), DstIP: netip.MustParseAddr("10.0.0.2"), SrcPort: 20000, DstPort: 30000,
	}}
}

func outer() *gen.Outer {
	return &gen.Outer{SrcMAC: gen.MAC{2, 1, 0, 0, 0, 1}, DstMAC: gen.MAC{2, 1, 0, 0, 0, 2}, VNI: 77, Option: hdr.BatonOption{SrcPort: 3, DstPort: 4},
		SrcIP: netip.MustParseAddr("192.0.2.1"), DstIP: netip.MustParseAddr("192.0.2.2")}
}

func oneBuf(t testing.TB) *buf.Buf {
	t.Helper()
	p, err := buf.NewPool(1, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	bufs := make([]*buf.Buf, 1)
	if !p.Get(bufs) {
		t.Fatal("no buffer")
	}
	t.Cleanup(func() {
		p.Put(bufs)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return bufs[0]
}

// decode takes a frame apart by another's library, which checks the checksums.
func decode(t *rapid.T, b []byte) (all []gopacket.Layer) {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("%v in % x", e.Error(), b)
	}
	for _, l := range p.Layers() {
		if l, ok := l.(*layers.IPv4); ok {
			if err, v := l.VerifyChecksum(); err != nil || !v.Valid {
				t.Fatalf("checksum: %v %+v", err, v)
			}
		}
	}
	return p.Layers()
}

// Each flow's frames have the fields that were asked for, right checksums and lengths, and
// are taken for what they are by the receiver's check, until a byte is changed.
func TestWrite(t *testing.T) {
	b := oneBuf(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := stream()
		s.Size = rapid.IntRange(gen.MinSize, gen.MaxSize).Draw(rt, "size")
		s.IMIX = rapid.Bool().Draw(rt, "imix")
		if rapid.Bool().Draw(rt, "tunnel") {
			s.Frame.Outer = outer()
		}
		s.Flows = gen.Flows{Num: 1 << 12, Vary: []gen.Vary{{Field: gen.SrcPort, Shift: 0, Bits: 4}, {Field: gen.DstIP, Shift: 4, Bits: 8}, {Field: gen.DstMAC, Shift: 4, Bits: 8}}}
		w, err := gen.NewWriter(s, 5)
		if err != nil {
			rt.Fatal(err)
		}
		check := gen.NewChecker(s)
		for range rapid.IntRange(1, 30).Draw(rt, "frames") {
			flow := rapid.Uint32Range(0, 1<<12-1).Draw(rt, "flow")
			b.Reset()
			if !w.Write(b, flow, 99) {
				rt.Fatal("does not fit")
			}
			all := decode(rt, b.Data())
			if s.Frame.Outer != nil {
				if g := all[3].(*layers.Geneve); g.VNI != 77 || len(g.Options) != 1 {
					rt.Fatalf("%+v", g)
				}
				all = all[4:]
			}
			eth, ip, udp := all[0].(*layers.Ethernet), all[1].(*layers.IPv4), all[2].(*layers.UDP)
			if uint32(udp.SrcPort) != 20000+flow&15 || uint32(ip.DstIP.To4()[3])+256*uint32(ip.DstIP.To4()[2]) != 2+flow>>4 ||
				uint32(eth.DstMAC[5])+256*uint32(eth.DstMAC[4]) != 2+flow>>4 || udp.DstPort != 30000 || ip.SrcIP.String() != "10.0.0.1" {
				rt.Fatalf("flow %d: %v > %v, %v > %v, %v > %v", flow, eth.SrcMAC, eth.DstMAC, ip.SrcIP, ip.DstIP, udp.SrcPort, udp.DstPort)
			}
			if !check.Good(b.Data()) {
				rt.Fatalf("refused: % x", b.Data())
			}
			bad := bytes.Clone(b.Data())
			inner := len(bad) - int(ip.Length) - 14
			at := inner + rapid.SampledFrom([]int{0, 7, 16, 22, 25, 28, 33, 35, 38, 58}).Draw(rt, "at")
			bad[at] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
			if check.Good(bad) {
				rt.Fatalf("byte %d was changed and nobody saw it", at)
			}
		}
	})
}

// A router between: other MAC addresses, a TTL less one, a checksum that is right again.
func TestCheck_behindARouter(t *testing.T) {
	b := oneBuf(t)
	s := stream()
	s.Size = 200
	w, err := gen.NewWriter(s, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(b, 3, 1)
	d := b.Data()
	copy(d, "\x02\x09\x09\x09\x09\x09\x02\x08\x08\x08\x08\x08")
	check := gen.NewChecker(s)
	if check.Good(d) {
		t.Error("other MAC addresses without a router were taken")
	}
	d[22]--
	if check.Good(d) {
		t.Error("a wrong checksum was taken")
	}
	hdr.IPv4(d[14:]).SetChecksum()
	if !check.Good(d) {
		t.Error("a routed frame was refused")
	}
	d[150]++
	if check.Good(d) {
		t.Error("a changed payload was taken")
	}
}

func TestStream_refused(t *testing.T) {
	for name, change := range map[string]func(*gen.Stream){
		"small":  func(s *gen.Stream) { s.Size = 63 },
		"large":  func(s *gen.Stream) { s.Size = 1519 },
		"flows":  func(s *gen.Stream) { s.Flows.Num = 1<<24 + 1 },
		"same":   func(s *gen.Stream) { s.Flows = gen.Flows{Num: 17, Vary: []gen.Vary{{Field: gen.SrcIP, Bits: 4}}} },
		"field":  func(s *gen.Stream) { s.Flows.Vary = []gen.Vary{{Field: "ttl", Bits: 4}} },
		"port":   func(s *gen.Stream) { s.Flows.Vary = []gen.Vary{{Field: gen.SrcPort, Bits: 17}} },
		"choice": func(s *gen.Stream) { s.Flows.Choice = "best" },
		"rate":   func(s *gen.Stream) { s.Rate = -1 },
		"burst":  func(s *gen.Stream) { s.Burst = 33 },
		"vni":    func(s *gen.Stream) { s.Frame.Outer = outer(); s.Frame.Outer.VNI = 1 << 24 },
		"ipv6":   func(s *gen.Stream) { s.Frame.SrcIP = netip.MustParseAddr("::1") },
	} {
		s := stream()
		change(&s)
		if _, err := gen.NewWriter(s, 0); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
