package compile

import (
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// Priorities. Within a table a higher one is tried first; rules of one priority
// do not overlap.
const (
	prioDefault  = 0   // what happens when nothing else matches
	prioFallback = 50  // narrower than the default, wider than an object's rule
	prioObject   = 100 // one object's rule
	prioSpecial  = 200 // an exception to an object's rule

	// Routes are ordered by prefix length, then static before connected:
	// prioRoute + 4 × length + level. The gap leaves room for equal-cost groups.
	prioRoute      = 100
	levelConnected = 0
	levelStatic    = 1
)

const icmpEchoRequest = 8 // ICMP type (RFC 792)
const arpRequest = 1      // ARP opcode (RFC 826)

// rule makes one rule; the cookie is put in later, by owner.
func rule(t flow.TableID, prio uint16, m flow.Match, actions ...flow.Action) flow.Rule {
	return flow.Rule{RuleID: flow.RuleID{Table: t, Priority: prio, Match: m}, Actions: actions}
}

// every matches everything.
func every() flow.Match { return flow.Match{} }

// in matches packets that are in a datapath.
func in(vni uint32) flow.Match { return every().WithUint(flow.FieldDatapath, uint64(vni)) }

// arp narrows m to ARP requests.
func arp(m flow.Match) flow.Match {
	return m.WithUint(flow.FieldEthType, uint64(flow.EtherTypeARP)).WithUint(flow.FieldProto, arpRequest)
}

// ipv4 narrows m to IPv4.
func ipv4(m flow.Match) flow.Match {
	return m.WithUint(flow.FieldEthType, uint64(flow.EtherTypeIPv4))
}

// pass is a table's rule that only goes on.
func pass(t, next flow.TableID) flow.Rule { return rule(t, prioDefault, every(), flow.Goto(next)) }

// otherwise is a table's rule that drops what no other rule takes.
func otherwise(t flow.TableID, r stats.DropReason) flow.Rule {
	return rule(t, prioDefault, every(), flow.Drop(r))
}

// baseRules are those that no object owns: the frame in which the objects' rules
// hang. They are the same on every host.
func baseRules() []flow.Rule {
	return append(append(tunnelRules(), switchRules()...), routerRules()...)
}

// tunnelRules are the way in and the way out.
func tunnelRules() []flow.Rule {
	clear := flow.SetUint(flow.FieldDstPort, 0)
	return []flow.Rule{
		rule(pipeline.TableConvertPhyLogical, prioFallback,
			every().WithUint(flow.FieldInPort, uint64(flow.PortTunnel)), flow.Drop(stats.DropUnknownTunnelSource)),
		otherwise(pipeline.TableConvertPhyLogical, stats.DropUnknownInPort),
		// What came out of a tunnel has been judged by its sender: it may leave by any port.
		rule(pipeline.TableExtractMetadata, prioDefault, every(),
			flow.Copy(flow.FieldDatapath, flow.FieldVNI),
			flow.Copy(flow.FieldSrcPort, flow.FieldTunSrcPort),
			flow.Copy(flow.FieldDstPort, flow.FieldTunDstPort),
			flow.Copy(flow.FieldFlags, flow.FieldTunFlags),
			flow.Copy(flow.FieldCommand, flow.FieldTunCommand),
			flow.SetFlags(flow.FlagLoopback),
			flow.Goto(pipeline.TablePipelineForward)),
		otherwise(pipeline.TablePipelineForward, stats.DropUnknownDatapath),
		rule(pipeline.TableLSPTraceIngressIn, prioDefault, every(), clear, flow.Goto(pipeline.TableLSPIngressARPController)),
		rule(pipeline.TableLRPTraceIngressIn, prioDefault, every(), clear, flow.Goto(pipeline.TableLRPIngressPktResponse)),
		pass(pipeline.TableEmbed2Metadata, pipeline.TableOutputPkt),
		rule(pipeline.TableOutputPkt, prioDefault, every(), flow.Action{Op: flow.OpTunnel}),
	}
}

// switchRules are what all switches share.
func switchRules() []flow.Rule {
	here := every().WithUint(flow.FieldTunDst, 0)
	link := every().WithUint(flow.FieldOutPort, 0)
	return []flow.Rule{
		pass(pipeline.TableLSPIngressARPController, pipeline.TableLSPIngressARPResponse),
		rule(pipeline.TableLSPIngressARPResponse, prioFallback, arp(every()), flow.Drop(stats.DropUnknownARPTarget)),
		pass(pipeline.TableLSPIngressARPResponse, pipeline.TableLSPIngressLookupDstPort),
		otherwise(pipeline.TableLSPIngressLookupDstPort, stats.DropUnknownMAC),
		rule(pipeline.TableLSPIngressOutputDstPort, prioObject, here, flow.Goto(pipeline.TableLSPTraceIngressOut)),
		pass(pipeline.TableLSPIngressOutputDstPort, pipeline.TableEmbed2Metadata),
		pass(pipeline.TableLSPTraceIngressOut, pipeline.TableLSPTraceEgressIn),
		pass(pipeline.TableLSPTraceEgressIn, pipeline.TableLSPEgressJudgeLoopback),
		// The output action itself compares the ports and honours the flag LOOPBACK.
		pass(pipeline.TableLSPEgressJudgeLoopback, pipeline.TableLSPEgressForwardPacket),
		otherwise(pipeline.TableLSPEgressForwardPacket, stats.DropUnknownPort),
		// A local port has a rule of its own; what has no output port goes over a link.
		rule(pipeline.TableLSPEgressPushout, prioFallback, link,
			flow.Copy(flow.FieldDatapath, flow.FieldNextDatapath),
			flow.Copy(flow.FieldSrcPort, flow.FieldNextPort),
			flow.SetUint(flow.FieldNextDatapath, 0),
			flow.SetUint(flow.FieldNextPort, 0),
			flow.Goto(pipeline.TableLRPTraceIngressIn)),
		otherwise(pipeline.TableLSPEgressPushout, stats.DropUnknownPort),
	}
}

// routerRules are what all routers share.
func routerRules() []flow.Rule {
	return []flow.Rule{
		pass(pipeline.TableLRPIngressPktResponse, pipeline.TableLRPIngressDropUnexpect),
		rule(pipeline.TableLRPIngressDropUnexpect, prioObject, ipv4(every()),
			flow.Action{Op: flow.OpDecTTL}, flow.Goto(pipeline.TableLRPIngressUNSNATStage1)),
		otherwise(pipeline.TableLRPIngressDropUnexpect, stats.DropNotIP),
		pass(pipeline.TableLRPIngressUNSNATStage1, pipeline.TableLRPIngressUNSNATStage2),
		pass(pipeline.TableLRPIngressUNSNATStage2, pipeline.TableLRPIngressDNATStage1),
		pass(pipeline.TableLRPIngressDNATStage1, pipeline.TableLRPIngressDNATStage2),
		pass(pipeline.TableLRPIngressDNATStage2, pipeline.TableLRPIngressIPRoute),
		otherwise(pipeline.TableLRPIngressIPRoute, stats.DropNoRoute),
		pass(pipeline.TableLRPIngressECMP, pipeline.TableLRPTraceIngressOut),
		pass(pipeline.TableLRPTraceIngressOut, pipeline.TableLRPTraceEgressIn),
		pass(pipeline.TableLRPTraceEgressIn, pipeline.TableLRPEgressUNDNATStage1),
		pass(pipeline.TableLRPEgressUNDNATStage1, pipeline.TableLRPEgressUNDNATStage2),
		pass(pipeline.TableLRPEgressUNDNATStage2, pipeline.TableLRPEgressSNATStage1),
		pass(pipeline.TableLRPEgressSNATStage1, pipeline.TableLRPEgressSNATStage2),
		pass(pipeline.TableLRPEgressSNATStage2, pipeline.TableLRPEgressUpdateEthDst),
		otherwise(pipeline.TableLRPEgressUpdateEthDst, stats.DropUnknownNeighbour),
		otherwise(pipeline.TableLRPEgressForwardPacket, stats.DropUnknownPort),
		pass(pipeline.TableLRPTraceEgressOut, pipeline.TableLSPTraceIngressIn),
	}
}
