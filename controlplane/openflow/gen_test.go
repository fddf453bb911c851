package openflow_test

import (
	"math"

	"pgregory.net/rapid"

	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// Generators of valid entries; small ranges so that identities repeat.

func genTable(t *rapid.T) flow.TableID {
	all := pipeline.Tables()
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "table")].ID
}

func genField(t *rapid.T) flow.FieldInfo {
	return rapid.SampledFrom(flow.AllFields()).Draw(t, "field")
}

func genValue(t *rapid.T, size int) (v [16]byte) {
	copy(v[:size], rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "value"))
	return v
}

func genRuleID(t *rapid.T) flow.RuleID {
	id := flow.RuleID{Table: genTable(t), Priority: uint16(rapid.IntRange(0, math.MaxUint16).Draw(t, "priority"))}
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		f := genField(t)
		v := genValue(t, f.Size)
		if rapid.Bool().Draw(t, "exact") {
			id.Match = id.Match.With(f.ID, v)
		} else {
			id.Match = id.Match.WithMasked(f.ID, v, genValue(t, f.Size))
		}
	}
	return id
}

func genRule(t *rapid.T) flow.Rule {
	r := flow.Rule{RuleID: genRuleID(t), Cookie: rapid.Uint64().Draw(t, "cookie"), Actions: []flow.Action{}}
	for range rapid.IntRange(0, 4).Draw(t, "actions") {
		r.Actions = append(r.Actions, genStep(t))
	}
	switch rapid.IntRange(0, 4).Draw(t, "end") {
	case 0:
		r.Actions = append(r.Actions, flow.Goto(genTable(t)))
	case 1:
		r.Actions = append(r.Actions, flow.Output(flow.PortNo(rapid.Uint64Range(1, 1<<40).Draw(t, "port"))))
	case 2:
		r.Actions = append(r.Actions, flow.Action{Op: flow.OpTunnel})
	case 3:
		r.Actions = append(r.Actions, flow.Drop(stats.DropReason(rapid.IntRange(1, stats.NumDropReasons-1).Draw(t, "reason"))))
	}
	return r
}

func genStep(t *rapid.T) flow.Action {
	f := genField(t)
	switch rapid.IntRange(0, 6).Draw(t, "step") {
	case 0:
		return flow.Action{Op: flow.OpSetField, Field: f.ID, Value: genValue(t, f.Size)}
	case 1:
		return flow.Copy(f.ID, f.ID)
	case 2:
		return flow.Action{Op: flow.OpDecTTL}
	case 3:
		return flow.ARPReply(genMAC(t))
	case 4:
		return flow.SetFlags(uint16(rapid.IntRange(0, math.MaxUint16).Draw(t, "flags")))
	case 5:
		return flow.Action{Op: flow.OpPunt, Num: rapid.Uint32().Draw(t, "num")}
	}
	return flow.Action{Op: flow.OpEchoReply}
}

func genBinding(t *rapid.T) flow.Binding {
	return flow.Binding{
		Name:   rapid.SampledFrom([]string{"vm1", "vm2", "vm3", "vm4"}).Draw(t, "name"),
		Number: flow.LogicalPort(rapid.Uint32Range(1, 1<<24-1).Draw(t, "vni"), uint16(rapid.IntRange(1, math.MaxUint16).Draw(t, "id"))),
		MAC:    genMAC(t), MTU: uint16(rapid.IntRange(0, math.MaxUint16).Draw(t, "mtu")),
	}
}

func genNeighbour(t *rapid.T) flow.Neighbour {
	return flow.Neighbour{
		Host: rapid.SampledFrom([]string{"", "h1", "h2"}).Draw(t, "host"),
		IP:   rapid.Uint32Range(1, 6).Draw(t, "ip"), MAC: genMAC(t),
	}
}

// genChange draws its rules from pool, with cookies of their own.
func genChange(t *rapid.T, pool []flow.Rule) flow.Change {
	c := flow.Change{Replace: rapid.IntRange(0, 9).Draw(t, "replace") == 0}
	for range rapid.IntRange(0, 8).Draw(t, "rules") {
		r := rapid.SampledFrom(pool).Draw(t, "rule")
		if rapid.Bool().Draw(t, "del") {
			c.DelRules = append(c.DelRules, r.RuleID)
			continue
		}
		r.Cookie = uint64(rapid.IntRange(0, 3).Draw(t, "cookie"))
		c.SetRules = append(c.SetRules, r)
	}
	for range rapid.IntRange(0, 3).Draw(t, "bindings") {
		b := genBinding(t)
		if rapid.Bool().Draw(t, "del") {
			c.DelBindings = append(c.DelBindings, b.Name)
		} else {
			c.SetBindings = append(c.SetBindings, b)
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "neighbours") {
		n := genNeighbour(t)
		if rapid.Bool().Draw(t, "del") {
			c.DelNeighbours = append(c.DelNeighbours, n.IP)
		} else {
			c.SetNeighbours = append(c.SetNeighbours, n)
		}
	}
	return c
}

func genMAC(t *rapid.T) (m flow.MAC) {
	v := genValue(t, len(m))
	copy(m[:], v[:])
	return m
}
