package stats

// DropReason says why a packet was not sent. The String form is a stable name
// for scripts and metrics; Describe is a sentence for people.
type DropReason uint8

// The reasons. Names are stable; the numbers may change between versions.
const (
	DropNone                DropReason = iota // not dropped
	DropShortFrame                            // frame shorter than the headers it claims
	DropBadIPv4                               // IPv4 header with a wrong version, header length or total length
	DropBadIPv6                               // IPv6 header with a wrong version or length
	DropBadARP                                // ARP packet not for Ethernet and IPv4, or truncated
	DropUnknownInPort                         // ingress port has no logical port bound to it
	DropTableMiss                             // no rule of a pipeline table matched
	DropPipelineLoop                          // the pipeline did not end within its step limit
	DropBadRule                               // a rule asks for what cannot be done with this packet
	DropUnknownMAC                            // no port of the switch has the destination MAC
	DropUnknownARPTarget                      // no port or gateway of the switch has the IP address asked for
	DropUnknownDatapath                       // no switch or router has this datapath id (VNI)
	DropUnknownPort                           // the destination port id is not on this host
	DropSamePort                              // the packet would leave by the port it came from
	DropNotIP                                 // a router got a packet that is not IP
	DropTTLExpired                            // time to live ran out at a router
	DropNoRoute                               // no route of the router matches the destination
	DropUnknownNeighbour                      // the router knows no MAC for the next hop
	DropForRouter                             // addressed to a router itself, and not an echo request
	DropNoTunnel                              // no underlay neighbour for the destination host
	DropTooBig                                // frame larger than the output's MTU allows
	DropNoHeadroom                            // buffer without room for the outer headers
	DropPortDown                              // output port is not attached or its ring is not enabled
	DropTxFull                                // the receiver's ring or the NIC's queue was full
	DropHandoffFull                           // the ring to the worker that owns the output port was full
	DropNotForUs                              // underlay frame that is neither for our VTEP nor ARP
	DropOuterBad                              // outer IPv4 or UDP header malformed, or its checksum wrong
	DropOuterFragment                         // outer IPv4 packet is a fragment
	DropGeneveVersion                         // Geneve version is not 0
	DropGeneveOAM                             // Geneve control packet (O bit) that nobody here handles
	DropGeneveOptions                         // Geneve options do not add up to their length
	DropGeneveCritical                        // unknown Geneve option with the critical bit set
	DropGeneveProtocol                        // Geneve payload is not Ethernet
	DropUnknownTunnelSource                   // tunnelled packet from an address that is no host's
	DropPuntFull                              // the queue of packets to the control plane was full
	DropNoBuffer                              // no buffer was free for a packet that the switch had to make
	DropBadOffload                            // frame whose offload request does not fit its headers, or cannot be met
	DropOverwork                              // super-segment beyond what one turn of its queue may be cut into
	DropInjected                              // consumed: given to the control plane
	DropOther                                 // for a reason that only another version knows

	NumDropReasons = int(iota)
)

var dropTexts = [NumDropReasons]struct{ name, sentence string }{
	DropNone:                {"none", "not dropped"},
	DropShortFrame:          {"short_frame", "frame shorter than the headers it claims"},
	DropBadIPv4:             {"bad_ipv4", "IPv4 header with a wrong version, header length or total length"},
	DropBadIPv6:             {"bad_ipv6", "IPv6 header with a wrong version or length"},
	DropBadARP:              {"bad_arp", "ARP packet not for Ethernet and IPv4, or truncated"},
	DropUnknownInPort:       {"unknown_in_port", "ingress port has no logical port bound to it"},
	DropTableMiss:           {"table_miss", "no rule of a pipeline table matched"},
	DropPipelineLoop:        {"pipeline_loop", "the pipeline did not end within its step limit"},
	DropBadRule:             {"bad_rule", "a rule asks for what cannot be done with this packet"},
	DropUnknownMAC:          {"unknown_mac", "no port of the switch has the destination MAC"},
	DropUnknownARPTarget:    {"unknown_arp_target", "no port or gateway of the switch has the IP address asked for"},
	DropUnknownDatapath:     {"unknown_datapath", "no switch or router has this datapath id (VNI)"},
	DropUnknownPort:         {"unknown_port", "the destination port id is not on this host"},
	DropSamePort:            {"same_port", "the packet would leave by the port it came from"},
	DropNotIP:               {"not_ip", "a router got a packet that is not IP"},
	DropTTLExpired:          {"ttl_expired", "time to live ran out at a router"},
	DropNoRoute:             {"no_route", "no route of the router matches the destination"},
	DropUnknownNeighbour:    {"unknown_neighbour", "the router knows no MAC for the next hop"},
	DropForRouter:           {"for_router", "addressed to a router itself, and not an echo request"},
	DropNoTunnel:            {"no_tunnel", "no underlay neighbour for the destination host"},
	DropTooBig:              {"too_big", "frame larger than the output's MTU allows"},
	DropNoHeadroom:          {"no_headroom", "buffer without room for the outer headers"},
	DropPortDown:            {"port_down", "output port is not attached or its ring is not enabled"},
	DropTxFull:              {"tx_full", "the receiver's ring or the NIC's queue was full"},
	DropHandoffFull:         {"handoff_full", "the ring to the worker that owns the output port was full"},
	DropNotForUs:            {"not_for_us", "underlay frame that is neither for our VTEP nor ARP"},
	DropOuterBad:            {"outer_bad", "outer IPv4 or UDP header malformed, or its checksum wrong"},
	DropOuterFragment:       {"outer_fragment", "outer IPv4 packet is a fragment"},
	DropGeneveVersion:       {"geneve_version", "Geneve version is not 0"},
	DropGeneveOAM:           {"geneve_oam", "Geneve control packet (O bit) that nobody here handles"},
	DropGeneveOptions:       {"geneve_options", "Geneve options do not add up to their length"},
	DropGeneveCritical:      {"geneve_critical", "unknown Geneve option with the critical bit set"},
	DropGeneveProtocol:      {"geneve_protocol", "Geneve payload is not Ethernet"},
	DropUnknownTunnelSource: {"unknown_tunnel_source", "tunnelled packet from an address that is no host's"},
	DropPuntFull:            {"punt_full", "the queue of packets to the control plane was full"},
	DropNoBuffer:            {"no_buffer", "no buffer was free for a packet that the switch had to make"},
	DropBadOffload:          {"bad_offload", "frame whose offload request does not fit its headers, or cannot be met"},
	DropOverwork:            {"overwork", "super-segment beyond what one turn of its queue may be cut into"},
	DropInjected:            {"injected", "consumed: given to the control plane"},
	DropOther:               {"other", "for a reason that only another version knows"},
}

// String is the reason's stable name, such as "unknown_mac".
func (r DropReason) String() string {
	if int(r) >= NumDropReasons {
		return "unknown"
	}
	return dropTexts[r].name
}

// Describe is a sentence that says what the reason means.
func (r DropReason) Describe() string {
	if int(r) >= NumDropReasons {
		return "a reason that this version does not know"
	}
	return dropTexts[r].sentence
}

// ParseDropReason is the reason with the given stable name.
func ParseDropReason(name string) (DropReason, bool) {
	for i := range dropTexts {
		if dropTexts[i].name == name {
			return DropReason(i), true
		}
	}
	return DropNone, false
}
