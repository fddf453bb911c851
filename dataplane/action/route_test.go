package action_test

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/offload/offloadtest"
	"baton/dataplane/stats"
)

// routable is a random packet, more often than not of a kind that Route does not decline.
func routable(t *rapid.T) hdrtest.Packet {
	p := hdrtest.Random(t)
	if rapid.IntRange(0, 3).Draw(t, "as it comes") == 0 {
		return p
	}
	p.VLAN, p.ARP, p.Options, p.Extensions, p.FragOffset, p.MoreFragments, p.Padding = 0, 0, 0, nil, 0, false, 0
	p.Src, p.Dst, p.TTL = hdrtest.IP4(1), hdrtest.IP4(2), uint8(rapid.IntRange(1, 255).Draw(t, "more TTL"))
	p.Proto = rapid.SampledFrom([]uint8{hdr.ProtoTCP, hdr.ProtoTCP, hdr.ProtoUDP, hdr.ProtoICMP}).Draw(t, "common proto")
	return p
}

// routedList is what routers do to p, in most cases so that it gets through.
func routedList(t *rapid.T, p hdrtest.Packet) action.List {
	l := action.List{
		Verdict: rapid.SampledFrom([]action.Verdict{action.VerdictTunnel, action.VerdictOutput}).Draw(t, "verdict"),
		Edits:   action.EditsRouted, EthDst: hdrtest.MAC(5), EthSrc: hdrtest.MAC(6),
		TTL:       uint8(rapid.IntRange(0, 255).Draw(t, "TTL")),
		TTLBefore: uint8(rapid.SampledFrom([]int{0, 0, 1, 64, 255}).Draw(t, "TTL before")),
	}
	if p.TTL > 1 && rapid.Bool().Draw(t, "gets through") {
		l.TTL = uint8(1 + int(l.TTL)%int(p.TTL-1))
	}
	return l
}

// twins are two buffers with p as guests and the wire send it: complete, or with its
// checksum left to be completed, or as a super-segment, which may be a chain.
func twins(t *rapid.T, c *buf.Cache, p *hdrtest.Packet) (a, b *buf.Buf) {
	kind, room := rapid.IntRange(0, 4).Draw(t, "kind"), rapid.IntRange(128, 2048).Draw(t, "room")
	plain := p.ARP != 0 || p.FragOffset != 0 || p.MoreFragments || p.Padding != 0 || p.Proto != hdr.ProtoTCP && p.Proto != hdr.ProtoUDP
	if kind == 0 || plain {
		a, b = c.Alloc(), c.Alloc()
		if !a.SetFrame(p.Bytes()) || !b.SetFrame(p.Bytes()) {
			t.Fatalf("%+v does not fit", *p)
		}
		return a, b
	}
	segment := 0
	if kind > 1 && p.Proto == hdr.ProtoTCP {
		segment, p.Payload = 536, make([]byte, rapid.IntRange(0, 9000).Draw(t, "payload"))
	}
	return offloadtest.Ask(c, p.Bytes(), segment, room), offloadtest.Ask(c, p.Bytes(), segment, room)
}

// headers is all that the buffers of b's frame have but the frame's bytes.
func headers(b *buf.Buf) (all []buf.Buf) {
	for ; b != nil; b = b.Next {
		all = append(all, *b)
	}
	return all
}

// TestRouteIsEdit: what Route does is what Edit does to a frame, and Execute to a buffer of
// any kind: the bytes, and that the packet goes on; lengths, segments and flags stay. Where
// it declines it has done nothing.
func TestRouteIsEdit(t *testing.T) {
	c := buftest.NewCache(t, 256)
	routed, declined, asked, chains := 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := routable(t)
		l := routedList(t, p)
		b, plain := twins(t, c, &p)
		defer c.Free(b)
		defer c.Free(plain)
		before, plainBefore, was := headers(b), headers(plain), buftest.Frame(b)
		head := was[:min(len(was), 64)]
		ok := action.Route(b.Data(), &l)
		if !slices.Equal(headers(b), before) {
			t.Fatalf("%x with %+v: the buffers are %+v, were %+v", head, l, headers(b), before)
		}
		if !ok {
			declined++
			if !bytes.Equal(buftest.Frame(b), was) {
				t.Fatalf("%x with %+v: declined, and changed", head, l)
			}
			return
		}
		routed++
		if b.OlFlags != 0 {
			asked++
		}
		if b.NbSegs > 1 {
			chains++
		}
		if r := action.Execute(plain, &l); r != stats.DropNone || !slices.Equal(headers(plain), plainBefore) {
			t.Fatalf("%x with %+v: Execute says %s, the buffers are %+v, were %+v", head, l, r, headers(plain), plainBefore)
		}
		if got, want := buftest.Frame(b), buftest.Frame(plain); !bytes.Equal(got, want) {
			t.Fatalf("%x with %+v:\n%x, Execute:\n%x", head, l, got[:len(head)], want[:len(head)])
		}
		if r := action.Edit(was, &l); r != stats.DropNone || !bytes.Equal(buftest.Frame(b), was) {
			t.Fatalf("with %+v:\n%x, Edit: %s\n%x", l, b.Data()[:len(head)], r, head)
		}
	})
	t.Logf("%d routed, of which %d asked for work and %d were chains; %d declined", routed, asked, chains, declined)
	if routed < 3 || declined < 3 || asked < 3 {
		t.Error("too few of a kind")
	}
}

// TestRoute_short: a frame that ends before the IPv4 header does is not read.
func TestRoute_short(t *testing.T) {
	l := action.List{Edits: action.EditsRouted, TTL: 1}
	frame := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: 17, TTL: 64}.Bytes()
	for n := range 34 {
		if action.Route(frame[:n:n], &l) {
			t.Errorf("%d bytes were routed", n)
		}
	}
}

// TestRoute_allocs: nothing is allocated.
func TestRoute_allocs(t *testing.T) {
	l := action.List{Edits: action.EditsRouted, TTL: 1}
	frame := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: 17, TTL: 255}.Bytes()
	if n := testing.AllocsPerRun(100, func() { action.Route(frame, &l) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if frame[22] != 255-101 {
		t.Errorf("a TTL of %d is left: not all were routed", frame[22])
	}
}
