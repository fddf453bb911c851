package pipeline_test

import (
	"net/netip"
	"testing"

	"baton/dataplane/action"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/parse"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// The network of these tests: switches 5 (10.0.5.0/24) and 6 (10.0.6.0/24),
// joined by router 9, which is .254 in both. On this host: ports 5:1 (10.0.5.1),
// 5:2 (10.0.5.2), 6:1 (10.0.6.1). On the host 192.0.2.2: port 5:3 (10.0.5.3).
const (
	sw5, sw6, lr9 = 5, 6, 9
	link          = 254 // port id of the link on both sides
)

var (
	gwMAC    = flow.MAC{0xf2, 1, 0, 0, 0, 254}
	remote   = flow.IPv4(netip.MustParseAddr("192.0.2.2"))
	vtepMAC  = flow.MAC{2, 0, 0, 0, 1, 1}
	addr5    = func(id byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 5, id}) }
	addr6    = func(id byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 6, id}) }
	portMAC  = func(vni uint32, id byte) flow.MAC { return flow.MAC{2, 0, 0, 0, byte(vni), id} }
	portOf   = func(vni uint32, id byte) flow.PortNo { return flow.LogicalPort(vni, uint16(id)) }
	inSwitch = func(vni uint32) flow.Match { return flow.Match{}.WithUint(flow.FieldDatapath, uint64(vni)) }
)

// rules collects the rules of a network.
type rules []flow.Rule

func (r *rules) add(t flow.TableID, priority uint16, m flow.Match, a ...flow.Action) {
	*r = append(*r, flow.Rule{RuleID: flow.RuleID{Table: t, Priority: priority, Match: m}, Actions: a})
}

// localPort is what a port of this host needs.
func (r *rules) localPort(vni uint32, id byte) {
	p := portOf(vni, id)
	r.add(pipeline.TableConvertPhyLogical, 10, flow.Match{}.WithUint(flow.FieldInPort, uint64(p)),
		flow.SetUint(flow.FieldDatapath, uint64(vni)), flow.SetUint(flow.FieldSrcPort, uint64(id)), flow.Goto(pipeline.TableLSPIngressARPResponse))
	r.add(pipeline.TableLSPIngressLookupDstPort, 40, inSwitch(vni).WithMAC(flow.FieldEthDst, portMAC(vni, id)),
		flow.SetUint(flow.FieldDstPort, uint64(id)), flow.Goto(pipeline.TableLSPEgressForwardPacket))
	r.add(pipeline.TableLSPEgressForwardPacket, 10, inSwitch(vni).WithUint(flow.FieldDstPort, uint64(id)), flow.Output(p))
	r.arp(vni, netip.AddrFrom4([4]byte{10, 0, byte(vni), id}), portMAC(vni, id))
}

// arp answers for an address.
func (r *rules) arp(vni uint32, a netip.Addr, mac flow.MAC) {
	m := inSwitch(vni).WithUint(flow.FieldEthType, uint64(flow.EtherTypeARP)).WithUint(flow.FieldProto, 1)
	r.add(pipeline.TableLSPIngressARPResponse, 20, m.With(flow.FieldIPDst, flow.Addr(a)),
		flow.ARPReply(mac), flow.SetFlags(flow.FlagLoopback), flow.Goto(pipeline.TableLSPIngressLookupDstPort))
}

// gateway is the router's side on a switch.
func (r *rules) gateway(vni uint32) {
	own := netip.AddrFrom4([4]byte{10, 0, byte(vni), 254})
	r.arp(vni, own, gwMAC)
	r.add(pipeline.TableLSPIngressLookupDstPort, 40, inSwitch(vni).WithMAC(flow.FieldEthDst, gwMAC),
		flow.SetUint(flow.FieldDatapath, lr9), flow.SetUint(flow.FieldSrcPort, uint64(vni)), flow.Goto(pipeline.TableLRPIngressPktResponse))
	echo := inSwitch(lr9).WithUint(flow.FieldEthType, uint64(flow.EtherTypeIPv4)).With(flow.FieldIPDst, flow.Addr(own)).
		WithUint(flow.FieldProto, uint64(flow.ProtoICMP)).WithUint(flow.FieldL4Src, 8).WithUint(flow.FieldL4Dst, 0)
	r.add(pipeline.TableLRPIngressPktResponse, 20, echo, flow.Action{Op: flow.OpEchoReply}, flow.SetFlags(flow.FlagLoopback),
		flow.Goto(pipeline.TableLRPIngressDropUnexpect))
	subnet := inSwitch(lr9).WithPrefix(flow.FieldIPDst, netip.PrefixFrom(own, 24))
	r.add(pipeline.TableLRPIngressIPRoute, 24<<10, subnet, flow.SetUint(flow.FieldDstPort, uint64(vni)),
		flow.SetMAC(flow.FieldEthSrc, gwMAC), flow.Copy(flow.FieldNextHop, flow.FieldIPDst), flow.Goto(pipeline.TableLRPEgressUpdateEthDst))
}

// nextHop is the MAC for an address behind the router.
func (r *rules) nextHop(vni uint32, id byte) {
	a := netip.AddrFrom4([4]byte{10, 0, byte(vni), id})
	m := inSwitch(lr9).WithUint(flow.FieldDstPort, uint64(vni)).With(flow.FieldNextHop, flow.Addr(a))
	r.add(pipeline.TableLRPEgressUpdateEthDst, 10, m, flow.SetMAC(flow.FieldEthDst, portMAC(vni, id)),
		flow.SetUint(flow.FieldDatapath, uint64(vni)), flow.SetUint(flow.FieldSrcPort, link), flow.Goto(pipeline.TableLSPIngressLookupDstPort))
}

// network is the pipeline of the network.
func network(t *testing.T) *pipeline.Pipeline {
	t.Helper()
	var r rules
	for _, p := range []struct {
		vni uint32
		id  byte
	}{{sw5, 1}, {sw5, 2}, {sw6, 1}} {
		r.localPort(p.vni, p.id)
		r.nextHop(p.vni, p.id)
	}
	r.gateway(sw5)
	r.gateway(sw6)
	r.arp(sw5, addr5(3), portMAC(sw5, 3))
	r.nextHop(sw5, 3)
	r.add(pipeline.TableLSPIngressLookupDstPort, 30, inSwitch(sw5).WithMAC(flow.FieldEthDst, portMAC(sw5, 3)),
		flow.SetUint(flow.FieldDstPort, 3), flow.SetUint(flow.FieldTunDst, uint64(remote)), flow.Action{Op: flow.OpTunnel})
	r.add(pipeline.TableLSPIngressARPResponse, 10, flow.Match{}.WithUint(flow.FieldEthType, uint64(flow.EtherTypeARP)), flow.Drop(stats.DropUnknownARPTarget))
	r.add(pipeline.TableLSPIngressARPResponse, 0, flow.Match{}, flow.Goto(pipeline.TableLSPIngressLookupDstPort))
	r.add(pipeline.TableLSPIngressLookupDstPort, 0, flow.Match{}, flow.Drop(stats.DropUnknownMAC))
	r.add(pipeline.TableLRPIngressPktResponse, 0, flow.Match{}, flow.Goto(pipeline.TableLRPIngressDropUnexpect))
	r.add(pipeline.TableLRPIngressDropUnexpect, 10, flow.Match{}.WithUint(flow.FieldEthType, uint64(flow.EtherTypeIPv4)),
		flow.Action{Op: flow.OpDecTTL}, flow.Goto(pipeline.TableLRPIngressIPRoute))
	r.add(pipeline.TableLRPIngressDropUnexpect, 0, flow.Match{}, flow.Drop(stats.DropNotIP))
	r.add(pipeline.TableLRPIngressIPRoute, 0, flow.Match{}, flow.Drop(stats.DropNoRoute))
	r.add(pipeline.TableLRPEgressUpdateEthDst, 0, flow.Match{}, flow.Drop(stats.DropUnknownNeighbour))
	r.add(pipeline.TableConvertPhyLogical, 10, flow.Match{}.WithUint(flow.FieldInPort, uint64(flow.PortTunnel)),
		flow.Copy(flow.FieldDatapath, flow.FieldVNI), flow.Copy(flow.FieldSrcPort, flow.FieldTunSrcPort), flow.Copy(flow.FieldDstPort, flow.FieldTunDstPort),
		flow.SetFlags(flow.FlagLoopback), flow.Goto(pipeline.TableLSPEgressForwardPacket))
	p := pipeline.New()
	c := flow.Change{SetRules: r, SetNeighbours: []flow.Neighbour{{Host: "other", IP: remote, MAC: vtepMAC}}}
	if _, err := p.Apply(c); err != nil {
		t.Fatal(err)
	}
	return p
}

// ping is an echo request from a port of this host.
func ping(from flow.MAC, to flow.MAC, src, dst netip.Addr) hdrtest.Packet {
	return hdrtest.Packet{EthSrc: from, EthDst: to, Src: src, Dst: dst, Proto: flow.ProtoICMP, SrcPort: 8, Payload: []byte("0123456789")}
}

// reply is p as its echo reply.
func reply(p hdrtest.Packet) hdrtest.Packet {
	p.EthSrc, p.EthDst, p.Src, p.Dst, p.SrcPort = p.EthDst, p.EthSrc, p.Dst, p.Src, 0
	return p
}

type networkCase struct {
	name   string
	in     flow.PortNo
	packet hdrtest.Packet
	want   action.List    // verdict, reason, port, tunnel
	frame  hdrtest.Packet // what leaves
	mask   []flow.FieldID // all that the result depends on
}

func networkCases() []networkCase {
	m51, m52, m53, m61 := portMAC(sw5, 1), portMAC(sw5, 2), portMAC(sw5, 3), portMAC(sw6, 1)
	unicast := ping(m51, m52, addr5(1), addr5(2))
	routed := ping(m51, gwMAC, addr5(1), addr6(1))
	arrived := routed
	arrived.EthSrc, arrived.EthDst, arrived.TTL = gwMAC, m61, 63
	echo := ping(m51, gwMAC, addr5(1), addr6(254))
	answer := reply(echo)
	answer.TTL = 254
	ask := hdrtest.Packet{EthSrc: m51, EthDst: flow.MAC{255, 255, 255, 255, 255, 255}, Src: addr5(1), Dst: addr5(3), ARP: 1}
	expired := routed
	expired.TTL = 1
	out := func(p flow.PortNo) action.List { return action.List{Verdict: action.VerdictOutput, Out: p} }
	drop := func(r stats.DropReason) action.List { return action.List{Reason: r} }
	return []networkCase{
		{"same switch", portOf(sw5, 1), unicast, out(portOf(sw5, 2)), unicast, []flow.FieldID{flow.FieldInPort, flow.FieldEthType, flow.FieldEthDst}},
		{"other host", portOf(sw5, 1), ping(m51, m53, addr5(1), addr5(3)),
			action.List{Verdict: action.VerdictTunnel, Tunnel: action.Tunnel{VNI: sw5, Dst: remote, MAC: vtepMAC, SrcPort: 1, DstPort: 3}},
			ping(m51, m53, addr5(1), addr5(3)), []flow.FieldID{flow.FieldInPort, flow.FieldEthType, flow.FieldEthDst}},
		{"across the router", portOf(sw5, 1), routed, out(portOf(sw6, 1)), arrived, nil},
		{"the router answers, to whom asked by the port it asked at", portOf(sw5, 1), echo, out(portOf(sw5, 1)), answer, nil},
		{"the last hop", portOf(sw5, 1), expired, action.List{Verdict: action.VerdictOutput, Out: portOf(sw6, 1), Reason: stats.DropTTLExpired}, expired, nil},
		{"ARP proxy", portOf(sw5, 1), ask, out(portOf(sw5, 1)),
			hdrtest.Packet{EthSrc: m53, EthDst: m51, Src: addr5(3), Dst: addr5(1), ARP: 2}, nil},
		{"ARP for nobody", portOf(sw5, 1), hdrtest.Packet{EthSrc: m51, Src: addr5(1), Dst: addr5(77), ARP: 1}, drop(stats.DropUnknownARPTarget), hdrtest.Packet{}, nil},
		{"unknown MAC", portOf(sw5, 1), ping(m51, flow.MAC{2, 9}, addr5(1), addr5(2)), drop(stats.DropUnknownMAC), hdrtest.Packet{}, nil},
		{"MAC of another switch", portOf(sw5, 1), ping(m51, m61, addr5(1), addr6(1)), drop(stats.DropUnknownMAC), hdrtest.Packet{}, nil},
		{"back by the same port", portOf(sw5, 1), ping(m52, m51, addr5(2), addr5(1)), drop(stats.DropSamePort), hdrtest.Packet{}, nil},
		{"unbound port", portOf(7, 7), unicast, drop(stats.DropTableMiss), hdrtest.Packet{}, []flow.FieldID{flow.FieldInPort}},
		{"no route", portOf(sw5, 1), ping(m51, gwMAC, addr5(1), netip.MustParseAddr("203.0.113.1")), drop(stats.DropNoRoute), hdrtest.Packet{}, nil},
		{"no such neighbour", portOf(sw5, 1), ping(m51, gwMAC, addr5(1), addr6(9)), drop(stats.DropUnknownNeighbour), hdrtest.Packet{}, nil},
	}
}

// TestNetwork sends packets through a small network, written by hand.
func TestNetwork(t *testing.T) {
	s := network(t).Snapshot()
	for _, c := range networkCases() {
		t.Run(c.name, func(t *testing.T) {
			frame := c.packet.Bytes()
			k := flow.Key{InPort: c.in}
			if r := parse.Frame(frame, &k); r != stats.DropNone {
				t.Fatal(r)
			}
			var res pipeline.Result
			s.Walk(&k, &res)
			got := res.Actions
			reason := action.Edit(frame, &got)
			if got.Verdict != c.want.Verdict || got.Out != c.want.Out || got.Tunnel != c.want.Tunnel || reason != c.want.Reason {
				t.Fatalf("got %s %s %s %+v, want %+v", got.Verdict, reason, got.Out, got.Tunnel, c.want)
			}
			if reason == stats.DropNone {
				compare(t, frame, c.frame)
			}
			if c.mask != nil {
				var want flow.Fields
				for _, id := range c.mask {
					want.Cover(id)
				}
				if res.Mask != want.Key {
					t.Errorf("depends on %s, want %s", k.FormatMasked(res.Mask), k.FormatMasked(want.Key))
				}
			}
		})
	}
}

// compare compares a frame with the packet that it should be.
func compare(t *testing.T, got []byte, p hdrtest.Packet) {
	t.Helper()
	want := p.Bytes()
	if p.ARP == 2 { // the builder does not fill in the target's MAC
		copy(want[hdr.EthernetSize+18:], p.EthDst[:])
	}
	if string(got) != string(want) {
		t.Errorf("frame\n%x, want\n%x", got, want)
	}
}

// steps notes the tables of a walk.
type steps struct {
	tables []flow.TableID
	misses int
}

func (s *steps) Step(t flow.TableID, r *pipelineRule, _ *flow.Fields) {
	s.tables = append(s.tables, t)
	if r == nil {
		s.misses++
	}
}

// TestTrace follows a routed packet from table to table.
func TestTrace(t *testing.T) {
	s := network(t).Snapshot()
	k := flow.Key{InPort: portOf(sw5, 1)}
	parse.Frame(ping(portMAC(sw5, 1), gwMAC, addr5(1), addr6(1)).Bytes(), &k)
	var walked, traced pipeline.Result
	var seen steps
	s.Walk(&k, &walked)
	s.Trace(&k, &traced, &seen)
	if traced != walked {
		t.Errorf("traced %+v, walked %+v", traced.Actions, walked.Actions)
	}
	want := []flow.TableID{
		pipeline.TableConvertPhyLogical, pipeline.TableLSPIngressARPResponse, pipeline.TableLSPIngressLookupDstPort,
		pipeline.TableLRPIngressPktResponse, pipeline.TableLRPIngressDropUnexpect, pipeline.TableLRPIngressIPRoute,
		pipeline.TableLRPEgressUpdateEthDst, pipeline.TableLSPIngressLookupDstPort, pipeline.TableLSPEgressForwardPacket,
	}
	if len(seen.tables) != len(want) || seen.misses != 0 || walked.NumRules != len(want) {
		t.Fatalf("steps %v, misses %d, want %v", seen.tables, seen.misses, want)
	}
	for i := range want {
		if seen.tables[i] != want[i] {
			t.Fatalf("steps %v, want %v", seen.tables, want)
		}
	}
}
