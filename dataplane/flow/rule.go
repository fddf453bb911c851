package flow

import "baton/dataplane/stats"

// TableID is the number of a pipeline table; pipeline has their names.
type TableID uint8

// Match holds for fields f if f & Mask == Value. Value has no bit outside Mask.
// The zero Match holds for everything.
type Match struct {
	Value, Mask Fields
}

// Op is what an action does.
type Op uint8

// The actions. Those marked "ends" must come last and end the walk.
const (
	OpNone      Op = iota
	OpSetField     // Field := Value
	OpCopyField    // Field := Src
	OpGoto         // go on at Table; ends
	OpOutput       // send to Port, or while that takes nothing to the host in Regs.TunDst, if set; ends
	OpTunnel       // send in Geneve to Regs.TunDst, VNI and option from Regs; ends
	OpDrop         // drop with Reason; ends
	OpDecTTL       // decrement TTL or hop limit; at 1 or 0 the packet is dropped (ttl_expired)
	OpARPReply     // turn an ARP request into the reply that MAC (in Value) has the target address
	OpEchoReply    // turn an ICMP echo request into its reply, TTL 255
	OpSetFlags     // Regs.Flags |= Num
	OpPunt         // copy to the control plane with Num as the reason
)

// Action is one step of a rule. Which fields count depends on Op; the others are zero.
type Action struct {
	Op     Op
	Table  TableID
	Reason stats.DropReason
	Field  FieldID
	Src    FieldID
	Port   PortNo
	Num    uint32
	Value  [16]byte // big endian, left aligned in the field's size
}

// RuleID identifies a rule: no two rules of a host share it.
type RuleID struct {
	Table    TableID
	Priority uint16
	Match    Match
}

// Rule is one entry of a pipeline table. Of the rules that match, the one with
// the highest priority acts; rules of equal priority in one table must not overlap.
type Rule struct {
	RuleID
	Cookie  uint64 // the controller's mark; survives upgrades; not part of the identity
	Actions []Action
}

// Binding ties a port of this host, by name, to its logical port.
type Binding struct {
	Name   string // of the logical port; the host's port has the same name
	Number PortNo
	MAC    MAC
	MTU    uint16 // bytes of L3 that the guest is told; 0 = what the underlay leaves
}

// Neighbour is another host on the underlay, or the way there.
type Neighbour struct {
	Host string // name, for people
	IP   uint32 // underlay IPv4 address, host order
	MAC  MAC    // where frames to IP go: the host's VTEP, or a gateway's MAC
}

// Change is a set of edits that take effect together. Sets replace what has the
// same identity (RuleID, Binding.Name, Neighbour.IP); deletes of what is not
// there are not errors. A PortNo is bound to at most one name.
type Change struct {
	Replace       bool // drop everything that the sets do not mention
	SetRules      []Rule
	DelRules      []RuleID
	SetBindings   []Binding
	DelBindings   []string
	SetNeighbours []Neighbour
	DelNeighbours []uint32
}

// Empty reports whether the change edits nothing.
func (c *Change) Empty() bool {
	return !c.Replace && len(c.SetRules) == 0 && len(c.DelRules) == 0 && len(c.SetBindings) == 0 &&
		len(c.DelBindings) == 0 && len(c.SetNeighbours) == 0 && len(c.DelNeighbours) == 0
}
