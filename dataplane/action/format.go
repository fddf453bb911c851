package action

import (
	"fmt"
	"net/netip"
	"strings"

	"baton/dataplane/flow"
)

// String writes what becomes of the packet, as in
// "eth_dst=02:00:00:00:00:01,dec_ttl,output(5:1)". Behind a "|" is an output's second way.
func (l *List) String() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	has := func(e Edits) bool { return l.Edits&e != 0 }
	if l.Punt != 0 {
		add("punt(%d)", l.Punt)
	}
	if has(EditARPReply) {
		add("arp_reply(%s)", l.ARPMAC)
	}
	if has(EditEchoReply) {
		add("echo_reply")
	}
	if has(EditEthDst) {
		add("eth_dst=%s", l.EthDst)
	}
	if has(EditEthSrc) {
		add("eth_src=%s", l.EthSrc)
	}
	for _, f := range []struct {
		edit Edits
		id   flow.FieldID
		v    [16]byte
	}{
		{EditIPSrc, flow.FieldIPSrc, l.IPSrc}, {EditIPDst, flow.FieldIPDst, l.IPDst},
		{EditL4Src, flow.FieldL4Src, flow.Uint(uint64(l.L4Src), 2)}, {EditL4Dst, flow.FieldL4Dst, flow.Uint(uint64(l.L4Dst), 2)},
		{EditTOS, flow.FieldTOS, flow.Uint(uint64(l.TOS), 1)},
	} {
		if has(f.edit) {
			i, _ := f.id.Info()
			add("%s=%s", i.Name, i.FormatValue(f.v))
		}
	}
	if n := l.TTL + l.TTLBefore; has(EditTTL) && n == 1 {
		add("dec_ttl")
	} else if has(EditTTL) {
		add("dec_ttl(%d)", n)
	}
	return strings.Join(append(parts, l.end()), ",")
}

// end writes where the packet ends.
func (l *List) end() string {
	switch l.Verdict {
	case VerdictOutput:
		text := fmt.Sprintf("output(%s)", l.Out)
		if l.Tunnel.Dst != 0 {
			text += "|" + l.Tunnel.String()
		}
		return text
	case VerdictTunnel:
		return l.Tunnel.String()
	}
	return "drop(" + l.Reason.String() + ")"
}

// String is the tunnel as an action, as in "tunnel(dst=192.0.2.2,vni=5,...)".
func (t *Tunnel) String() string {
	dst := netip.AddrFrom4([4]byte{byte(t.Dst >> 24), byte(t.Dst >> 16), byte(t.Dst >> 8), byte(t.Dst)})
	return fmt.Sprintf("tunnel(dst=%s,vni=%d,src_port=%d,dst_port=%d,flags=%#04x)", dst, t.VNI, t.SrcPort, t.DstPort, t.Flags)
}
