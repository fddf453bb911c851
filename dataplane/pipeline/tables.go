package pipeline

import "baton/dataplane/flow"

// The tables, by the names and numbers of the TupleNet design. A number is an
// address on the wire: tables may be added, none is renumbered.
const (
	TableConvertPhyLogical       flow.TableID = 0   // ingress port or tunnel to datapath and source port
	TableLSPTraceIngressIn       flow.TableID = 1   // trace point
	TableLSPIngressARPController flow.TableID = 3   // ARP that the control plane wants to see
	TableLSPIngressARPResponse   flow.TableID = 4   // ARP proxy for known ports and gateways
	TableLSPIngressLookupDstPort flow.TableID = 6   // destination MAC to destination port and host
	TableLSPIngressOutputDstPort flow.TableID = 7   // to a tunnel, or on to this host's egress
	TableLSPTraceIngressOut      flow.TableID = 8   // trace point
	TableLSPTraceEgressIn        flow.TableID = 20  // trace point
	TableLSPEgressJudgeLoopback  flow.TableID = 21  // no way back by the port it came from, unless flagged
	TableLSPEgressForwardPacket  flow.TableID = 22  // destination port to a local port or a link to a router
	TableLSPEgressPushout        flow.TableID = 23  // send, or enter the router
	TableLRPTraceIngressIn       flow.TableID = 30  // trace point
	TableLRPIngressPktResponse   flow.TableID = 31  // echo replies for the router's own addresses
	TableLRPIngressDropUnexpect  flow.TableID = 32  // time to live
	TableLRPIngressUNSNATStage1  flow.TableID = 33  // reverse source NAT; passes
	TableLRPIngressUNSNATStage2  flow.TableID = 34  // reverse source NAT; passes
	TableLRPIngressDNATStage1    flow.TableID = 35  // destination NAT; passes
	TableLRPIngressDNATStage2    flow.TableID = 36  // destination NAT; passes
	TableLRPIngressIPRoute       flow.TableID = 37  // longest prefix to outgoing port and next hop
	TableLRPIngressECMP          flow.TableID = 38  // choice among equal routes; passes
	TableLRPTraceIngressOut      flow.TableID = 39  // trace point
	TableLRPTraceEgressIn        flow.TableID = 50  // trace point
	TableLRPEgressUNDNATStage1   flow.TableID = 51  // reverse destination NAT; passes
	TableLRPEgressUNDNATStage2   flow.TableID = 52  // reverse destination NAT; passes
	TableLRPEgressSNATStage1     flow.TableID = 53  // source NAT; passes
	TableLRPEgressSNATStage2     flow.TableID = 54  // source NAT; passes
	TableLRPEgressUpdateEthDst   flow.TableID = 55  // next hop to destination MAC
	TableLRPEgressForwardPacket  flow.TableID = 57  // over the link into the switch
	TableLRPTraceEgressOut       flow.TableID = 58  // trace point
	TableOutputPkt               flow.TableID = 94  // send into the tunnel
	TableRedirectChassis         flow.TableID = 95  // relay by a helper; drops until redirection comes
	TableEmbed2Metadata          flow.TableID = 97  // registers into the tunnel option
	TableExtractMetadata         flow.TableID = 98  // tunnel option into registers
	TablePipelineForward         flow.TableID = 99  // where a packet from a tunnel goes on
	TableDropPacket              flow.TableID = 101 // drops
)

// NumTables is one more than the highest table number.
const NumTables = 102

// TableInfo describes one table.
type TableInfo struct {
	ID       flow.TableID
	Name     string // stable, as in "LSP_INGRESS_ARP_RESPONSE"
	Sentence string // what the table decides
}

var tableInfos = []TableInfo{
	{TableConvertPhyLogical, "CONVERT_PHY_LOGICAL", "ingress port or tunnel to datapath and source port"},
	{TableLSPTraceIngressIn, "LSP_TRACE_INGRESS_IN", "trace point"},
	{TableLSPIngressARPController, "LSP_INGRESS_ARP_CONTROLLER", "ARP that the control plane wants to see"},
	{TableLSPIngressARPResponse, "LSP_INGRESS_ARP_RESPONSE", "ARP proxy for known ports and gateways"},
	{TableLSPIngressLookupDstPort, "LSP_INGRESS_LOOKUP_DST_PORT", "destination MAC to destination port and host"},
	{TableLSPIngressOutputDstPort, "LSP_INGRESS_OUTPUT_DST_PORT", "to a tunnel, or on to this host's egress"},
	{TableLSPTraceIngressOut, "LSP_TRACE_INGRESS_OUT", "trace point"},
	{TableLSPTraceEgressIn, "LSP_TRACE_EGRESS_IN", "trace point"},
	{TableLSPEgressJudgeLoopback, "LSP_EGRESS_JUDGE_LOOPBACK", "no way back by the port it came from, unless flagged"},
	{TableLSPEgressForwardPacket, "LSP_EGRESS_FORWARD_PACKET", "destination port to a local port or a link to a router"},
	{TableLSPEgressPushout, "LSP_EGRESS_PUSHOUT", "send, or enter the router"},
	{TableLRPTraceIngressIn, "LRP_TRACE_INGRESS_IN", "trace point"},
	{TableLRPIngressPktResponse, "LRP_INGRESS_PKT_RESPONSE", "echo replies for the router's own addresses"},
	{TableLRPIngressDropUnexpect, "LRP_INGRESS_DROP_UNEXPECT", "time to live"},
	{TableLRPIngressUNSNATStage1, "LRP_INGRESS_UNSNAT_STAGE1", "reverse source NAT; passes"},
	{TableLRPIngressUNSNATStage2, "LRP_INGRESS_UNSNAT_STAGE2", "reverse source NAT; passes"},
	{TableLRPIngressDNATStage1, "LRP_INGRESS_DNAT_STAGE1", "destination NAT; passes"},
	{TableLRPIngressDNATStage2, "LRP_INGRESS_DNAT_STAGE2", "destination NAT; passes"},
	{TableLRPIngressIPRoute, "LRP_INGRESS_IP_ROUTE", "longest prefix to outgoing port and next hop"},
	{TableLRPIngressECMP, "LRP_INGRESS_ECMP", "choice among equal routes; passes"},
	{TableLRPTraceIngressOut, "LRP_TRACE_INGRESS_OUT", "trace point"},
	{TableLRPTraceEgressIn, "LRP_TRACE_EGRESS_IN", "trace point"},
	{TableLRPEgressUNDNATStage1, "LRP_EGRESS_UNDNAT_STAGE1", "reverse destination NAT; passes"},
	{TableLRPEgressUNDNATStage2, "LRP_EGRESS_UNDNAT_STAGE2", "reverse destination NAT; passes"},
	{TableLRPEgressSNATStage1, "LRP_EGRESS_SNAT_STAGE1", "source NAT; passes"},
	{TableLRPEgressSNATStage2, "LRP_EGRESS_SNAT_STAGE2", "source NAT; passes"},
	{TableLRPEgressUpdateEthDst, "LRP_EGRESS_UPDATE_ETH_DST", "next hop to destination MAC"},
	{TableLRPEgressForwardPacket, "LRP_EGRESS_FORWARD_PACKET", "over the link into the switch"},
	{TableLRPTraceEgressOut, "LRP_TRACE_EGRESS_OUT", "trace point"},
	{TableOutputPkt, "OUTPUT_PKT", "send into the tunnel"},
	{TableRedirectChassis, "REDIRECT_CHASSIS", "relay by a helper; drops until redirection comes"},
	{TableEmbed2Metadata, "EMBED2_METADATA", "registers into the tunnel option"},
	{TableExtractMetadata, "EXTRACT_METADATA", "tunnel option into registers"},
	{TablePipelineForward, "PIPELINE_FORWARD", "where a packet from a tunnel goes on"},
	{TableDropPacket, "DROP_PACKET", "drops"},
}

// Tables lists all tables in the order of their numbers.
func Tables() []TableInfo { return append([]TableInfo(nil), tableInfos...) }

// TableName is the table's stable name; false if there is no such table.
func TableName(id flow.TableID) (string, bool) {
	for _, t := range tableInfos {
		if t.ID == id {
			return t.Name, true
		}
	}
	return "", false
}

// TableByName finds a table by its stable name.
func TableByName(name string) (flow.TableID, bool) {
	for _, t := range tableInfos {
		if t.Name == name {
			return t.ID, true
		}
	}
	return 0, false
}
