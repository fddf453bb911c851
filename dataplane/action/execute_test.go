package action_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/parse"
	"baton/dataplane/stats"
)

// edited is p as the edits of l leave it, by building it anew.
func edited(p hdrtest.Packet, l *action.List) hdrtest.Packet {
	ttl := p.TTL
	if l.Edits&action.EditEchoReply != 0 {
		p.Src, p.Dst, ttl = p.Dst, p.Src, 255
		p.SrcPort = map[uint16]uint16{8: 0, 128: 129}[p.SrcPort]
	}
	if l.Edits&action.EditARPReply != 0 {
		p.Src, p.Dst, p.ARP = p.Dst, p.Src, 2
	}
	addr := func(v [16]byte, old netip.Addr) netip.Addr {
		if old.Is4() {
			return netip.AddrFrom4([4]byte(v[:4]))
		}
		return netip.AddrFrom16(v)
	}
	for _, e := range []struct {
		edit action.Edits
		do   func()
	}{
		{action.EditEthDst, func() { p.EthDst = l.EthDst }},
		{action.EditEthSrc, func() { p.EthSrc = l.EthSrc }},
		{action.EditIPSrc, func() { p.Src = addr(l.IPSrc, p.Src) }},
		{action.EditIPDst, func() { p.Dst = addr(l.IPDst, p.Dst) }},
		{action.EditTOS, func() { p.TOS = l.TOS }},
		{action.EditL4Src, func() { p.SrcPort = l.L4Src }},
		{action.EditL4Dst, func() { p.DstPort = l.L4Dst }},
	} {
		if l.Edits&e.edit != 0 {
			e.do()
		}
	}
	p.TTL = ttl - l.TTL
	return p
}

// randomList is a list that can be executed for p.
func randomList(t *rapid.T, p hdrtest.Packet) (l action.List) {
	l.Verdict = action.VerdictOutput
	pick := func(e action.Edits) bool {
		on := rapid.Bool().Draw(t, "edit")
		if on {
			l.Edits |= e
		}
		return on
	}
	num := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "value") }
	if pick(action.EditEthDst) {
		l.EthDst = hdrtest.MAC(num(256))
	}
	if pick(action.EditEthSrc) {
		l.EthSrc = hdrtest.MAC(num(256))
	}
	if p.ARP != 0 {
		if p.ARP == 1 && pick(action.EditARPReply) {
			l.Edits |= action.EditEthSrc | action.EditEthDst
			l.ARPMAC, l.EthSrc, l.EthDst = hdrtest.MAC(77), hdrtest.MAC(77), p.EthSrc
		}
		return l
	}
	newAddr := func() [16]byte {
		if p.Src.Is4() {
			return flow.Addr(hdrtest.IP4(num(200)))
		}
		return flow.Addr(hdrtest.IP6(num(200)))
	}
	if pick(action.EditIPSrc) {
		l.IPSrc = newAddr()
	}
	if pick(action.EditIPDst) {
		l.IPDst = newAddr()
	}
	if pick(action.EditTOS) {
		l.TOS = uint8(num(256))
	}
	if (p.Proto == flow.ProtoTCP || p.Proto == flow.ProtoUDP) && p.FragOffset == 0 {
		if pick(action.EditL4Src) {
			l.L4Src = uint16(num(65536))
		}
		if pick(action.EditL4Dst) {
			l.L4Dst = uint16(num(65536))
		}
	}
	echo := p.Proto == flow.ProtoICMP && p.SrcPort == 8 || p.Proto == flow.ProtoICMPv6 && p.SrcPort == 128
	if echo && p.FragOffset == 0 && !p.MoreFragments {
		pick(action.EditEchoReply)
	}
	if p.TTL > 1 && pick(action.EditTTL) {
		l.TTL = uint8(1 + num(int(p.TTL)-1))
	}
	return l
}

// TestEditIsRebuild: editing with incremental checksums gives the bytes that
// building the edited packet anew with full checksums gives.
func TestEditIsRebuild(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := hdrtest.Random(t)
		l := randomList(t, p)
		got := p.Bytes()
		if r := action.Edit(got, &l); r != stats.DropNone {
			t.Fatalf("%+v: %s", p, r)
		}
		want := edited(p, &l).Bytes()
		if p.ARP != 0 { // the builder has the frame's source as the sender's MAC
			at := len(want) - hdr.ARPSize
			copy(want[at+8:], p.EthSrc[:])
			if l.Edits&action.EditARPReply != 0 {
				copy(want[at+8:], l.ARPMAC[:])
				copy(want[at+18:], p.EthSrc[:])
			}
		}
		normalize(got)
		normalize(want)
		if string(got) != string(want) {
			t.Fatalf("%+v with %+v:\n%x, want\n%x", p, l, got, want)
		}
	})
}

// normalize writes the other form of zero in checksums where ones' complement
// has two: full and incremental computation may differ in it, and both are right.
func normalize(frame []byte) {
	l, _ := parse.Locate(frame)
	at := map[uint8]int{hdr.ProtoTCP: 16, hdr.ProtoUDP: 6, hdr.ProtoICMPv6: 2}[l.Proto]
	if l.L4 != 0 && at != 0 && l.L4+at+2 <= l.End {
		if c := frame[l.L4+at:]; binary.BigEndian.Uint16(c) == 0xffff {
			c[0], c[1] = 0, 0
		}
	}
}

// TestKnownVectors: checksums that came wrong stay wrong by as much.
func TestKnownVectors(t *testing.T) {
	p := hdrtest.Packet{Src: netip.MustParseAddr("10.10.1.2"), Dst: netip.MustParseAddr("10.10.2.3"), Proto: 1, SrcPort: 8, TTL: 9}
	frame := p.Bytes()
	binary.BigEndian.PutUint16(frame[24:], 0x5b91)
	binary.BigEndian.PutUint16(frame[36:], 0x8510)
	l := action.List{Verdict: action.VerdictOutput, Edits: action.EditTTL, TTL: 1}
	if r := action.Edit(frame, &l); r != stats.DropNone || binary.BigEndian.Uint16(frame[24:]) != 0x5c91 {
		t.Errorf("one hop: %s, checksum %x, want 5c91", r, frame[24:26])
	}
	l = action.List{Verdict: action.VerdictOutput, Edits: action.EditEchoReply}
	if r := action.Edit(frame, &l); r != stats.DropNone || binary.BigEndian.Uint16(frame[36:]) != 0x8d10 {
		t.Errorf("echo reply: %s, checksum %x, want 8d10", r, frame[36:38])
	}
}

// TestTTL: a packet passes as many routers as its TTL is above 1.
func TestTTL(t *testing.T) {
	tests := []struct {
		ttl  uint8
		list action.List
		want stats.DropReason
	}{
		{3, action.List{Verdict: action.VerdictOutput, TTL: 2}, stats.DropNone},
		{2, action.List{Verdict: action.VerdictOutput, TTL: 2}, stats.DropTTLExpired},
		{1, action.List{Verdict: action.VerdictTunnel, TTL: 1}, stats.DropTTLExpired},
		{2, action.List{Reason: stats.DropNoRoute, TTL: 2}, stats.DropTTLExpired},
		{3, action.List{Reason: stats.DropNoRoute, TTL: 2}, stats.DropNoRoute},
		{2, action.List{Verdict: action.VerdictOutput, TTLBefore: 1, TTL: 200, Edits: action.EditEchoReply}, stats.DropNone},
		{1, action.List{Verdict: action.VerdictOutput, TTLBefore: 1, TTL: 1, Edits: action.EditEchoReply}, stats.DropTTLExpired},
		{9, action.List{Verdict: action.VerdictOutput, TTL: 255, Edits: action.EditEchoReply}, stats.DropTTLExpired},
	}
	for _, tt := range tests {
		for _, p := range []hdrtest.Packet{
			{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: 1, SrcPort: 8, TTL: tt.ttl},
			{Src: hdrtest.IP6(1), Dst: hdrtest.IP6(2), Proto: 58, SrcPort: 128, TTL: tt.ttl},
		} {
			tt.list.Edits |= action.EditTTL
			if got := action.Edit(p.Bytes(), &tt.list); got != tt.want {
				t.Errorf("TTL %d, %+v: %s, want %s", tt.ttl, tt.list, got, tt.want)
			}
		}
	}
}

// TestImpossible: a list for another kind of packet drops it, and does not panic.
func TestImpossible(t *testing.T) {
	udp := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: 17}
	arp := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), ARP: 1}
	icmp := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: 1, SrcPort: 8, MoreFragments: true}
	for _, tt := range []struct {
		frame []byte
		edit  action.Edits
		want  stats.DropReason
	}{
		{arp.Bytes(), action.EditIPSrc, stats.DropBadRule},
		{udp.Bytes(), action.EditARPReply, stats.DropBadRule},
		{udp.Bytes(), action.EditEchoReply, stats.DropBadRule},
		{icmp.Bytes(), action.EditEchoReply, stats.DropBadRule},
		{icmp.Bytes(), action.EditL4Dst, stats.DropBadRule},
		{make([]byte, 60), action.EditTTL, stats.DropBadRule},
		{udp.Bytes()[:20], action.EditTTL, stats.DropShortFrame},
		{make([]byte, 5), action.EditEthDst, stats.DropShortFrame},
		{nil, action.EditEthSrc, stats.DropShortFrame},
	} {
		l := action.List{Verdict: action.VerdictOutput, Edits: tt.edit, TTL: 1}
		if got := action.Edit(tt.frame, &l); got != tt.want {
			t.Errorf("%x, edit %#x: %s, want %s", tt.frame, tt.edit, got, tt.want)
		}
	}
}

// TestExecute edits a buffer in place and allocates nothing.
func TestExecute(t *testing.T) {
	pool, err := buf.NewPool(1, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	c := buf.NewCache(pool)
	b := c.Alloc()
	b.SetFrame(hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: 6, TTL: 255}.Bytes())
	l := action.List{
		Verdict: action.VerdictOutput, Edits: action.EditTTL | action.EditEthDst | action.EditIPDst | action.EditL4Dst,
		TTL: 1, EthDst: hdrtest.MAC(3), IPDst: flow.Addr(hdrtest.IP4(3)), L4Dst: 9,
	}
	if n := testing.AllocsPerRun(100, func() { action.Execute(b, &l) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if b.Data()[5] != 3 || b.Data()[22] != 255-101 {
		t.Errorf("frame %x", b.Data())
	}
	c.Free(b)
	c.Flush()
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}

// TestVerdictNames are distinct.
func TestVerdictNames(t *testing.T) {
	for v, want := range map[action.Verdict]string{
		action.VerdictDrop: "drop", action.VerdictOutput: "output", action.VerdictTunnel: "tunnel", 99: "unknown",
	} {
		if v.String() != want {
			t.Errorf("%d is %q, want %q", v, v, want)
		}
	}
}
