package offload_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/offload"
	"baton/dataplane/offload/offloadtest"
	"baton/dataplane/stats"
)

const poolSize = 256

// cut is all segments of b, which is freed.
func cut(t testing.TB, c *buf.Cache, b *buf.Buf, leave bool) (out [][]byte) {
	t.Helper()
	var k offload.Cutter
	if r := k.Start(b, leave); r != stats.DropNone {
		t.Fatalf("%v: %+v of %d bytes", r, b.Lengths(), b.Len())
	}
	for want := k.Left(); want > 0; want-- {
		if k.Left() != want {
			t.Fatalf("%d segments left, want %d", k.Left(), want)
		}
		s := k.Next(c)
		if s == nil {
			t.Fatal("no buffer")
		}
		if s.NbSegs != 1 || s.Next != nil {
			t.Fatalf("a segment of %d buffers", s.NbSegs)
		}
		if leave {
			if s.OlFlags&buf.TxWork != buf.TxTCPCksum {
				t.Fatalf("flags %x", s.OlFlags)
			}
			if !offload.Complete(s) {
				t.Fatal("what was left cannot be completed")
			}
		}
		if s.OlFlags != 0 {
			t.Fatalf("flags %x of a finished frame", s.OlFlags)
		}
		out = append(out, append([]byte(nil), s.Data()...))
		c.Free(s)
	}
	if k.Next(c) != nil {
		t.Fatal("a segment too many")
	}
	c.Free(b)
	return out
}

// asOthersSee has gopacket check every length and checksum of a frame and returns
// the TCP segment.
func asOthersSee(t *rapid.T, f []byte) *layers.TCP {
	p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatal(e.Error())
	}
	var network gopacket.NetworkLayer
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case gopacket.NetworkLayer:
			network = l
		case interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}:
			if err := l.SetNetworkLayerForChecksum(network); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err, bad := p.VerifyChecksums(); err != nil || len(bad) > 0 {
		t.Fatalf("checksums: %v %v of %x", err, bad, f)
	}
	for _, l := range p.Layers() {
		if tcp, ok := l.(*layers.TCP); ok {
			return tcp
		}
	}
	t.Fatalf("no TCP in %v", p)
	return nil
}

// TestCut: the segments are those of the naive twin, others find them right, and
// their payload in order of sequence numbers is what was cut.
func TestCut(t *testing.T) {
	c := buftest.NewCache(t, poolSize)
	rapid.Check(t, func(rt *rapid.T) {
		frame := offloadtest.TCP(rt, rapid.SampledFrom([]int{0, 100, 5000, 60000}).Draw(rt, "most"))
		l := offloadtest.Locate(frame)
		size := rapid.IntRange(max(1, len(frame)/64), 1800).Draw(rt, "segment")
		b := offloadtest.Ask(c, frame, size, rapid.IntRange(300, 2048).Draw(rt, "room"))
		got, want := cut(t, c, b, rapid.Bool().Draw(rt, "leave")), offloadtest.Cut(frame, size)
		if len(got) != len(want) {
			rt.Fatalf("%d segments, want %d", len(got), len(want))
		}
		var payload []byte
		for i := range got {
			if !offloadtest.Equal(got[i], want[i]) {
				rt.Fatalf("segment %d of %d:\n%x, want\n%x", i, len(got), got[i], want[i])
			}
			tcp := asOthersSee(rt, got[i])
			if tcp.Seq != binary.BigEndian.Uint32(frame[l.L4+4:])+uint32(len(payload)) {
				rt.Fatalf("segment %d has sequence number %d", i, tcp.Seq)
			}
			payload = append(payload, tcp.Payload...)
		}
		if !bytes.Equal(payload, frame[l.Payload:]) {
			rt.Fatal("the payload is another")
		}
	})
}

// tunnelled puts 50 bytes of outer headers, up to Geneve without options, before b.
func tunnelled(b *buf.Buf) {
	size := 50 + b.Len()
	h := b.Prepend(50)
	clear(h)
	hdr.Ethernet(h).Encode(hdr.EthernetFields{Dst: hdrtest.MAC(1), Src: hdrtest.MAC(2), Type: hdr.TypeIPv4})
	ip := hdr.IPv4(h[14:])
	ip.Encode(hdr.IPv4Fields{TotalSize: uint16(size - 14), ID: 65535, Frag: hdr.IPv4DontFragment, TTL: 64, Proto: hdr.ProtoUDP, Src: [4]byte{192, 0, 2, 1}, Dst: [4]byte{192, 0, 2, 2}})
	ip.SetChecksum()
	hdr.UDP(h[34:]).Encode(hdr.UDPFields{SrcPort: 50000, DstPort: 6081, Size: uint16(size - 34)})
	binary.BigEndian.PutUint16(h[44:], 0x6558)
	l := b.Lengths()
	l.OuterL2, l.OuterL3, l.L2 = 14, 20, l.L2+16
	b.SetLengths(l)
	b.OlFlags |= buf.TxTunnelGeneve | buf.TxOuterIPv4
}

// TestCutInTunnel: every segment has outer headers of its own, with right lengths and
// the next identification; inside it is the twin's.
func TestCutInTunnel(t *testing.T) {
	c := buftest.NewCache(t, poolSize)
	rapid.Check(t, func(rt *rapid.T) {
		frame := offloadtest.TCP(rt, 60000)
		size := rapid.IntRange(max(1, len(frame)/64), 1700).Draw(rt, "segment")
		b := offloadtest.Ask(c, frame, size, rapid.IntRange(300, 2048).Draw(rt, "room"))
		tunnelled(b)
		got, want := cut(t, c, b, rapid.Bool().Draw(rt, "leave")), offloadtest.Cut(frame, size)
		if len(got) != len(want) {
			rt.Fatalf("%d segments, want %d", len(got), len(want))
		}
		for i := range got {
			asOthersSee(rt, got[i])
			if !offloadtest.Equal(got[i][50:], want[i]) {
				rt.Fatalf("segment %d:\n%x, want\n%x", i, got[i][50:], want[i])
			}
			ip, udp := hdr.IPv4(got[i][14:]), hdr.UDP(got[i][34:])
			if f := ip.Fields(); int(f.TotalSize) != len(ip) || f.ID != uint16(65535+i) || !ip.ChecksumOK() || udp.Size() != len(udp) {
				rt.Fatalf("segment %d: outer %+v, UDP of %d, in %d bytes", i, f, udp.Size(), len(got[i]))
			}
		}
	})
}

// TestComplete: completing a partial checksum gives the full one, in a tunnel too.
func TestComplete(t *testing.T) {
	c := buftest.NewCache(t, poolSize)
	rapid.Check(t, func(rt *rapid.T) {
		p := hdrtest.Packet{
			Src: hdrtest.IP4(rapid.IntRange(0, 7).Draw(rt, "a")), Dst: hdrtest.IP4(3), Proto: rapid.SampledFrom([]uint8{hdr.ProtoTCP, hdr.ProtoUDP}).Draw(rt, "proto"),
			SrcPort: rapid.Uint16().Draw(rt, "sport"), Payload: rapid.SliceOfN(rapid.Byte(), 0, 1400).Draw(rt, "payload"), Options: 4 * rapid.IntRange(0, 2).Draw(rt, "options"),
		}
		if rapid.Bool().Draw(rt, "v6") {
			p.Src, p.Dst, p.Options, p.Extensions = hdrtest.IP6(1), hdrtest.IP6(2), 0, []byte{60}
		}
		frame := p.Bytes()
		b := offloadtest.Ask(c, frame, 0, 2048)
		defer c.Free(b)
		skip := 0
		if rapid.Bool().Draw(rt, "tunnel") {
			tunnelled(b)
			skip = 50
		}
		if !offload.Complete(b) || b.OlFlags != 0 {
			rt.Fatalf("flags %x are left", b.OlFlags)
		}
		if got := b.Data()[skip:]; !offloadtest.Equal(got, frame) {
			rt.Fatalf("%x, want\n%x", got, frame)
		}
		if !offload.Complete(b) || !offloadtest.Equal(b.Data()[skip:], frame) {
			rt.Fatal("a finished frame was changed")
		}
	})
}

// A UDP checksum that comes to 0 is sent as its other form (RFC 768).
func TestCompleteUDPZero(t *testing.T) {
	c := buftest.NewCache(t, 4)
	p := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoUDP, Payload: []byte{0, 0}}
	f := p.Bytes()
	p.Payload = f[40:42] // the checksum is now one of zero
	b := offloadtest.Ask(c, p.Bytes(), 0, 2048)
	if !offload.Complete(b) || binary.BigEndian.Uint16(b.Data()[40:]) != 0xffff {
		t.Errorf("checksum %x", b.Data()[40:42])
	}
	c.Free(b)
}

// TestRefused: what cannot be cut says so, and nothing is made.
func TestRefused(t *testing.T) {
	c := buftest.NewCache(t, 64)
	frame := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoTCP, Payload: make([]byte, 9000)}.Bytes()
	for name, tt := range map[string]struct {
		edit func(b *buf.Buf, l *buf.Lengths)
		want stats.DropReason
	}{
		"no segment size":       {func(b *buf.Buf, l *buf.Lengths) { l.SegSize = 0 }, stats.DropBadOffload},
		"tiny segments":         {func(b *buf.Buf, l *buf.Lengths) { l.SegSize = 6 }, stats.DropBadOffload},
		"no request":            {func(b *buf.Buf, l *buf.Lengths) { b.OlFlags &^= buf.TxTCPSeg }, stats.DropBadOffload},
		"short TCP header":      {func(b *buf.Buf, l *buf.Lengths) { l.L4 = 16 }, stats.DropBadOffload},
		"headers beyond":        {func(b *buf.Buf, l *buf.Lengths) { b.DataLen = 40 }, stats.DropBadOffload},
		"IPv4 header length":    {func(b *buf.Buf, l *buf.Lengths) { l.L3 = 24 }, stats.DropBadOffload},
		"IPv6 header length":    {func(b *buf.Buf, l *buf.Lengths) { b.OlFlags |= buf.TxIPv6 }, stats.DropBadOffload},
		"outer header length":   {func(b *buf.Buf, l *buf.Lengths) { b.OlFlags |= buf.TxTunnelGeneve; l.OuterL2, l.OuterL3 = 0, 0 }, stats.DropBadOffload},
		"larger than a buffer":  {func(b *buf.Buf, l *buf.Lengths) { l.SegSize = 2048 }, stats.DropTooBig},
		"the most that can fit": {func(b *buf.Buf, l *buf.Lengths) { l.SegSize = 2048 - 54 }, stats.DropNone},
	} {
		b := offloadtest.Ask(c, frame, 1000, 1500)
		l := b.Lengths()
		tt.edit(b, &l)
		b.SetLengths(l)
		var k offload.Cutter
		if r := k.Start(b, false); r != tt.want {
			t.Errorf("%s: %v, want %v", name, r, tt.want)
		} else if r != stats.DropNone && (k.Left() != 0 || k.Next(c) != nil) {
			t.Errorf("%s: %d segments left", name, k.Left())
		}
		c.Free(b)
	}
	b := offloadtest.Ask(c, frame[:1500], 0, 1500)
	b.SetLengths(buf.Lengths{L2: 127, L3: 511})
	b.Truncate(640)
	if offload.Complete(b) || b.OlFlags == 0 {
		t.Error("a checksum beyond the frame's end was completed")
	}
	c.Free(b)
}

// TestPoolRunsDry: what was made is whole, the number of the rest is known, and
// nothing leaks.
func TestPoolRunsDry(t *testing.T) {
	c := buftest.NewCache(t, 20)
	frame := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoTCP, Payload: make([]byte, 30000)}.Bytes()
	b := offloadtest.Ask(c, frame, 1000, 2048)
	var k offload.Cutter
	if r := k.Start(b, false); r != stats.DropNone {
		t.Fatal(r)
	}
	want := offloadtest.Cut(frame, 1000)
	free := 20 - int(b.NbSegs)
	var made []*buf.Buf
	for s := k.Next(c); s != nil; s = k.Next(c) {
		if !bytes.Equal(s.Data(), want[len(made)]) {
			t.Errorf("segment %d is another", len(made))
		}
		made = append(made, s)
	}
	if len(made) != free || k.Left() != len(want)-free {
		t.Errorf("%d made with %d buffers, %d of %d left", len(made), free, k.Left(), len(want))
	}
	for _, s := range made {
		c.Free(s)
	}
	c.Free(b)
}

func TestAllocatesNothing(t *testing.T) {
	c := buftest.NewCache(t, 256)
	frame := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoTCP, Payload: make([]byte, 60000)}.Bytes()
	b := offloadtest.Ask(c, frame, 1448, 2048)
	part := offloadtest.Ask(c, frame[:1000], 0, 2048)
	flags := part.OlFlags
	var k offload.Cutter
	if n := testing.AllocsPerRun(100, func() {
		k.Start(b, false)
		for k.Left() > 0 {
			c.Free(k.Next(c))
		}
		part.OlFlags = flags
		offload.Complete(part)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	c.Free(b)
	c.Free(part)
}

// FuzzCut: whatever flags and lengths come with whatever bytes, nothing is read or
// written beyond, and what is made adds up.
func FuzzCut(f *testing.F) {
	frame := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoTCP, Payload: make([]byte, 300)}.Bytes()
	v6 := hdrtest.Packet{Src: hdrtest.IP6(1), Dst: hdrtest.IP6(2), Proto: hdr.ProtoTCP, VLAN: 5, Payload: make([]byte, 300)}.Bytes()
	seg := buf.TxTCPSeg | buf.TxTCPCksum
	pack := func(l buf.Lengths) uint64 {
		var b buf.Buf
		b.SetLengths(l)
		return b.TxOffload
	}
	f.Add(frame, seg|buf.TxIPv4, pack(buf.Lengths{L2: 14, L3: 20, L4: 20, SegSize: 100}), uint16(100))
	f.Add(v6, seg|buf.TxIPv6, pack(buf.Lengths{L2: 18, L3: 40, L4: 20, SegSize: 100}), uint16(500))
	f.Add(frame, seg|buf.TxIPv4|buf.TxTunnelGeneve, pack(buf.Lengths{OuterL2: 14, OuterL3: 20, L2: 30, L3: 20, L4: 20, SegSize: 1}), uint16(2048))
	f.Add(frame, buf.TxUDPCksum|buf.TxIPv4, pack(buf.Lengths{L2: 127, L3: 511}), uint16(2048))
	p, err := buf.NewPool(64, buf.DefaultDataRoom)
	if err != nil {
		f.Fatal(err)
	}
	c := buf.NewCache(p)
	f.Fuzz(func(t *testing.T, data []byte, flags, lengths uint64, room uint16) {
		if len(data) > 40000 {
			return
		}
		b := c.Alloc()
		size := 1 + int(room)%2048
		at := copy(b.Append(min(size, len(data))), data)
		for last := b; at < len(data) && b.NbSegs < 20; last = last.Next {
			s := c.AllocSegment()
			at += copy(s.Append(min(size, len(data)-at)), data[at:])
			b.Link(last, s)
		}
		// The flags of foreign memory are for drivers alone to set.
		b.OlFlags, b.TxOffload = flags&^(3<<61), lengths
		payload := b.Len()
		var k offload.Cutter
		if k.Start(b, flags&1 != 0) == stats.DropNone {
			num, sum, left := 0, 0, k.Left()
			for s := k.Next(c); s != nil; s = k.Next(c) {
				num, sum = num+1, sum+s.Len()
				c.Free(s)
			}
			l := b.Lengths()
			head := l.L2 + l.L3 + l.L4
			if flags&buf.TxTunnelMask != 0 {
				head += l.OuterL2 + l.OuterL3
			}
			if num != left || num > offload.MaxSegments || sum != payload+(num-1)*head {
				t.Fatalf("%d of %d segments with %d bytes, from %d bytes with headers of %d", num, left, sum, payload, head)
			}
		}
		offload.Complete(b)
		c.Free(b)
		if n := c.Held() + p.Available(); n != 64 {
			t.Fatalf("%d of 64 buffers are free", n)
		}
	})
}

func BenchmarkCut(b *testing.B) {
	c := buftest.NewCache(b, 256)
	frame := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoTCP, Payload: make([]byte, 64000)}.Bytes()
	s := offloadtest.Ask(c, frame, 1448, 2048)
	defer c.Free(s)
	var k offload.Cutter
	num := 0
	for b.Loop() {
		k.Start(s, false)
		for k.Left() > 0 {
			c.Free(k.Next(c))
			num++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(num), "ns/segment")
}
