package topology

import (
	"fmt"

	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
)

// Ruleset is rules that each pass the packets of one flow, by Masks different masks: rule i
// is for the flow whose UDP ports are PortsOf(i), and looks at bits of the destination port
// that only rules with the same i % Masks look at. The zero Ruleset has none.
type Ruleset struct {
	Num   int `json:"num"`
	Masks int `json:"masks"` // 1 to MaxMasks
	// Apart is one more rule, which all packets meet and which keeps both their ports in a
	// register: no two flows share an entry of a cache.
	Apart bool `json:"apart,omitempty"`
}

// MaxMasks is how many masks there are, and MaxRules how many rules tell flows apart.
const (
	MaxMasks = 32
	MaxRules = 1 << 18
)

// Ports of rule 0's flow: the source port counts on from 0, and what does not fit is added
// to the destination port.
const (
	rulePort     = 0x4d60 // its bits 2 to 3 are 0, for what is added
	rulePriority = 300
)

// PortsOf is the UDP ports of a rule's flow.
func (r Ruleset) PortsOf(i int) (src, dst uint16) { return uint16(i), rulePort + uint16(i>>16) }

// mask is the bits of the destination port that rule i looks at.
func (r Ruleset) mask(i int) uint16 { return 3 | uint16(i%r.Masks)<<4 }

// Baton is the rules in baton's pipeline, at the trace point before a switch's egress; what
// none takes passes too.
func (r Ruleset) Baton() []flow.Rule {
	rules := make([]flow.Rule, r.Num)
	for i := range rules {
		src, dst := r.PortsOf(i)
		m := flow.Match{}.WithUint(flow.FieldEthType, uint64(flow.EtherTypeIPv4)).WithUint(flow.FieldProto, 17).WithUint(flow.FieldL4Src, uint64(src)).
			WithMasked(flow.FieldL4Dst, flow.Uint(uint64(dst), 2), flow.Uint(uint64(r.mask(i)), 2))
		rules[i] = flow.Rule{
			RuleID:  flow.RuleID{Table: pipeline.TableLSPTraceIngressOut, Priority: rulePriority + uint16(i%r.Masks), Match: m},
			Actions: []flow.Action{flow.Goto(pipeline.TableLSPTraceEgressIn)},
		}
	}
	if r.Apart {
		rules = append(rules, flow.Rule{
			RuleID: flow.RuleID{Table: pipeline.TableLSPTraceIngressIn, Priority: rulePriority},
			Actions: []flow.Action{
				flow.Copy(flow.FieldCommand, flow.FieldL4Src), flow.Copy(flow.FieldCommand, flow.FieldL4Dst), flow.SetUint(flow.FieldCommand, 0),
				flow.SetUint(flow.FieldDstPort, 0), flow.Goto(pipeline.TableLSPIngressARPController),
			},
		})
	}
	return rules
}

// OVSApart is what a rule of OVS does before actions for the same.
func OVSApart(actions string) string {
	return "move:OXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15],move:OXM_OF_UDP_DST[]->NXM_NX_REG0[16..31]," + actions
}

// OVS is the same rules in ovs-ofctl's syntax, with what they do.
func (r Ruleset) OVS(from, actions string) []string {
	rules := make([]string, r.Num)
	for i := range rules {
		src, dst := r.PortsOf(i)
		m := r.mask(i)
		rules[i] = fmt.Sprintf("priority=%d,in_port=%s,udp,tp_src=%d,tp_dst=%#x/%#x,actions=%s", rulePriority+i%r.Masks, from, src, dst&m, m, actions)
	}
	return rules
}
