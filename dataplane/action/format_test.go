package action_test

import (
	"testing"

	"baton/dataplane/action"
	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

func TestList_String(t *testing.T) {
	for want, l := range map[string]*action.List{
		"drop(unknown_mac)": {Reason: stats.DropUnknownMAC},
		"output(5:1)":       {Verdict: action.VerdictOutput, Out: flow.LogicalPort(5, 1)},
		"output(5:1)|tunnel(dst=192.168.100.2,vni=5,src_port=2,dst_port=1,flags=0x0004)": {
			Verdict: action.VerdictOutput, Out: flow.LogicalPort(5, 1),
			Tunnel: action.Tunnel{VNI: 5, Dst: 192<<24 | 168<<16 | 100<<8 | 2, SrcPort: 2, DstPort: 1, Flags: flow.FlagRedirect},
		},
		"eth_dst=02:00:00:00:00:01,dec_ttl,output(5:1)": {
			Verdict: action.VerdictOutput, Out: flow.LogicalPort(5, 1),
			Edits: action.EditEthDst | action.EditTTL, EthDst: flow.MAC{2, 0, 0, 0, 0, 1}, TTL: 1,
		},
		"punt(7),arp_reply(02:00:00:00:00:02),tunnel(dst=192.168.100.2,vni=9,src_port=1,dst_port=2,flags=0x0001)": {
			Verdict: action.VerdictTunnel, Punt: 7, Edits: action.EditARPReply, ARPMAC: flow.MAC{2, 0, 0, 0, 0, 2},
			Tunnel: action.Tunnel{VNI: 9, Dst: 192<<24 | 168<<16 | 100<<8 | 2, SrcPort: 1, DstPort: 2, Flags: 1},
		},
		"echo_reply,l4_dst=80,dec_ttl(3),drop(none)": {
			Edits: action.EditEchoReply | action.EditL4Dst | action.EditTTL, L4Dst: 80, TTL: 1, TTLBefore: 2,
		},
	} {
		if got := l.String(); got != want {
			t.Errorf("%+v\n got %q\nwant %q", *l, got, want)
		}
	}
}
