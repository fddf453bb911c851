package action

import (
	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

// Verdict is where a packet ends.
type Verdict uint8

// The verdicts.
const (
	VerdictDrop   Verdict = iota // drop with List.Reason
	VerdictOutput                // send to List.Out
	VerdictTunnel                // send in Geneve as List.Tunnel says
)

// String is the verdict's stable name.
func (v Verdict) String() string {
	switch v {
	case VerdictDrop:
		return "drop"
	case VerdictOutput:
		return "output"
	case VerdictTunnel:
		return "tunnel"
	}
	return "unknown"
}

// Edits is a set of header edits.
type Edits uint16

// The edits. Each says that the List's field of the same name counts.
const (
	EditEthDst    Edits = 1 << iota
	EditEthSrc          //
	EditIPSrc           //
	EditIPDst           //
	EditTOS             //
	EditL4Src           //
	EditL4Dst           //
	EditTTL             // TTL or TTLBefore is not 0
	EditARPReply        // the ARP request becomes the reply that ARPMAC has the target address
	EditEchoReply       // the ICMP echo request becomes its reply

	// EditL3 are the edits that need to know where the L3 header is.
	EditL3 = EditIPSrc | EditIPDst | EditTOS | EditL4Src | EditL4Dst | EditTTL | EditARPReply | EditEchoReply
)

// Tunnel says how a packet leaves in Geneve.
type Tunnel struct {
	VNI     uint32
	Dst     uint32   // underlay IPv4 address of the other host, host order
	MAC     flow.MAC // outer destination MAC: where frames to Dst go
	SrcPort uint16   // option: source port id
	DstPort uint16   // option: destination port id
	Flags   uint16   // option: frame flags
	Command uint16   // option: command id
	_       uint16
}

// List is what becomes of a packet: the net effect of all rules on its way. It
// is plain comparable data without pointers, so that caches keep it outside the
// heap. Edits are made in this order: ARP or echo reply, addresses, ports, TOS, TTL.
// Fields that do not count are zero, so that equal lists have equal effects.
type List struct {
	Verdict Verdict
	Reason  stats.DropReason // of VerdictDrop
	Edits   Edits
	// Punt is not 0 if the control plane gets a copy of the frame, as it came in,
	// with this reason, before anything else is done.
	Punt uint32
	Out  flow.PortNo // of VerdictOutput

	// Tunnel is where VerdictTunnel sends. Of VerdictOutput it is the second way, for
	// while the port takes no packets; if Dst is 0 there is none.
	Tunnel Tunnel

	EthDst    flow.MAC
	EthSrc    flow.MAC
	ARPMAC    flow.MAC
	L4Src     uint16
	L4Dst     uint16
	TOS       uint8
	TTL       uint8 // routers passed, behind the echo reply if there is one: decrement by so much
	TTLBefore uint8 // routers passed before the echo reply, which sets 255
	_         uint8
	IPSrc     [16]byte
	IPDst     [16]byte
}
