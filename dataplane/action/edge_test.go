package action_test

import (
	"encoding/binary"
	"testing"

	"baton/dataplane/action"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/stats"
)

// TestEditsStayInside: of frames of all lengths, however they end, Route, Edit and Execute
// touch no byte behind the end, and do what they do where there are some.
func TestEditsStayInside(t *testing.T) {
	edge := buftest.NewEdge(t)
	const longest = 130
	payload := make([]byte, longest)
	a4, b4, a6, b6 := hdrtest.IP4(1), hdrtest.IP4(2), hdrtest.IP6(1), hdrtest.IP6(2)
	all := action.EditsRouted | action.EditIPSrc | action.EditIPDst | action.EditTOS
	ports := all | action.EditL4Src | action.EditL4Dst
	echo := action.EditEchoReply | action.EditEthDst
	for _, c := range []struct {
		p     hdrtest.Packet
		edits action.Edits
	}{
		{hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoUDP, Payload: payload}, action.EditsRouted},
		{hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoUDP, Payload: payload}, ports},
		{hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoTCP, Payload: payload}, ports},
		{hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoTCP, Options: 40, VLAN: 3, Payload: payload}, ports},
		{hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoUDP, FragOffset: 1, Payload: payload}, all},
		{hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoICMP, SrcPort: 8, Payload: payload}, echo},
		{hdrtest.Packet{Src: a4, Dst: b4, ARP: 1, Padding: longest}, action.EditARPReply | action.EditEthDst},
		{hdrtest.Packet{Src: a6, Dst: b6, Proto: hdr.ProtoUDP, Extensions: []byte{0, 60}, Payload: payload}, ports},
		{hdrtest.Packet{Src: a6, Dst: b6, Proto: hdr.ProtoTCP, Payload: payload}, ports},
		{hdrtest.Packet{Src: a6, Dst: b6, Proto: hdr.ProtoICMPv6, SrcPort: 128, Payload: payload}, echo},
	} {
		l := action.List{Verdict: action.VerdictOutput, Edits: c.edits, TTL: 1, EthDst: hdrtest.MAC(5), EthSrc: hdrtest.MAC(6), ARPMAC: hdrtest.MAC(7),
			IPSrc: flow.Addr(hdrtest.IP4(3)), IPDst: flow.Addr(hdrtest.IP4(4)), TOS: 9, L4Src: 10, L4Dst: 11}
		whole := c.p.Bytes()
		for n := range longest + 1 {
			staysInside(t, edge, whole[:n], &l)
			staysInside(t, edge, shortened(c.p, n), &l)
		}
	}
}

// shortened is the first n bytes of p's frame, where IPv4's and IPv6's length say that it is
// all: it takes the edits as far as can be.
func shortened(p hdrtest.Packet, n int) []byte {
	f := p.Bytes()[:n]
	l3 := hdr.EthernetSize
	if p.VLAN != 0 {
		l3 += hdr.VLANSize
	}
	switch {
	case p.ARP != 0 || n < l3+6:
	case p.Src.Is4():
		binary.BigEndian.PutUint16(f[l3+2:], uint16(n-l3))
	default:
		binary.BigEndian.PutUint16(f[l3+4:], uint16(max(n-l3-hdr.IPv6Size, 0)))
	}
	return f
}

// staysInside holds what l does to f to the bytes of f.
func staysInside(t *testing.T, edge *buftest.Edge, f []byte, l *action.List) {
	t.Helper()
	want := append([]byte(nil), f...)
	reason := action.Edit(want, l)
	same := func(what string, got []byte, r stats.DropReason) {
		if r != reason || r == stats.DropNone && string(got) != string(want) {
			t.Errorf("%x with %+v: %s says %s, %x, want %s, %x", f, *l, what, r, got, reason, want)
		}
	}
	buftest.Inside(t, func() {
		b := edge.Lay(f)
		same("Edit", b.Data(), action.Edit(b.Data(), l))
		b = edge.Lay(f)
		same("Execute", b.Data(), action.Execute(b, l))
		b = edge.Lay(f)
		if l.Edits == action.EditsRouted && action.Route(b.Data(), l) {
			// Route leaves it to the parser whether the frame has what its IPv4 header says.
			if reason == stats.DropNone {
				same("Route", b.Data(), stats.DropNone)
			}
		}
	}, edge)
}
