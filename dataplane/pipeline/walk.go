package pipeline

import (
	"encoding/binary"

	"baton/dataplane/action"
	"baton/dataplane/flow"
	"baton/dataplane/stats"
	"baton/dataplane/table"
)

// MaxSteps is how many tables a walk passes at the most. A router and a switch
// are about 26 tables; 32 routers in a row still pass.
const MaxSteps = 1024

// Result is what a walk comes to. It is large: keep one and use it again.
type Result struct {
	Actions action.List
	// Mask has the bits of the key that the result depends on.
	Mask flow.Key
	// Rules[:NumRules] are the rules that matched, in the order of the walk.
	Rules    [MaxSteps]table.Ref
	NumRules int
	// Passed is how many of the tables did not have to be looked into.
	Passed int
}

// Observer is told each step of a walk.
type Observer interface {
	// Step is called for each table with the fields as they are there, before the
	// rule's actions; rule is nil if none matched. f is valid during the call only.
	Step(t flow.TableID, rule *table.Rule, f *flow.Fields)
}

// walk is the state of one walk.
type walk struct {
	snap *Snapshot
	res  *Result
	obs  Observer
	in   flow.PortNo
	f    flow.Fields // the packet as it is at this point of the walk
	own  flow.Fields // bits of the key in f that still are the packet's own, not a rule's
	wc   flow.Fields // bits that were looked at since depend was called last
	list *action.List
}

// Walk interprets the rules for a packet with this key: the slow path.
//
//	out:   res, all of it
//	alloc: 0
func (s *Snapshot) Walk(key *flow.Key, res *Result) {
	var w walk
	w.run(s, key, res)
}

// Trace is Walk, with obs told each step. It looks into each table and notes what the
// result depends on at once, and so is the plain version of Walk.
func (s *Snapshot) Trace(key *flow.Key, res *Result, obs Observer) {
	w := walk{obs: obs}
	w.run(s, key, res)
}

// run walks from the first table to an end.
func (w *walk) run(s *Snapshot, key *flow.Key, res *Result) {
	w.snap, w.res, w.list, w.in = s, res, &res.Actions, key.InPort
	res.Actions, res.Mask, res.NumRules, res.Passed = action.List{}, flow.Key{}, 0, 0
	w.f.Key = *key
	own := w.own.Key.Words()
	for i := range own {
		own[i] = ^uint64(0)
	}
	w.tables()
	w.depend()
}

// tables takes the packet from table to table.
func (w *walk) tables() {
	at := TableConvertPhyLogical
	for range MaxSteps {
		if a := &w.snap.always[at]; a.pass && w.obs == nil {
			w.used(a.ref)
			w.res.Passed++
			at = a.next
			continue
		}
		next, on := w.table(at)
		if !on {
			return
		}
		at = next
	}
	w.drop(stats.DropPipelineLoop)
}

// table takes the packet through one table: on to the next one, or to an end.
func (w *walk) table(at flow.TableID) (next flow.TableID, on bool) {
	rule := w.snap.always[at].rule
	if t := w.snap.tables[at]; t != nil && (rule == nil || w.obs != nil) {
		rule = t.Lookup(&w.f, &w.wc)
		w.looked()
	}
	if w.obs != nil {
		w.observe(at, rule)
	}
	if rule == nil {
		return w.drop(stats.DropTableMiss)
	}
	w.used(rule.Ref)
	for i := range rule.Actions {
		a := &rule.Actions[i]
		if a.Op == flow.OpGoto {
			return a.Table, true
		}
		if !w.act(a) {
			return 0, false
		}
	}
	return w.drop(stats.DropBadRule)
}

// used notes that a rule matched.
func (w *walk) used(r table.Ref) {
	w.res.Rules[uint(w.res.NumRules)%MaxSteps] = r
	w.res.NumRules++
}

// observe tells the observer of a step. It gives away a copy, so that a walk
// without observer stays on the stack.
//
//go:noinline
func (w *walk) observe(at flow.TableID, rule *table.Rule) {
	f := w.f
	w.obs.Step(at, rule, &f)
}

// looked is called after something was looked at: it is noted when a rule writes the
// packet, or at the end, once for all tables in between; of a trace, at once.
func (w *walk) looked() {
	if w.obs != nil {
		w.depend()
	}
}

// depend notes that the result depends on the bits of wc, as far as they are the packet's
// own. It must be called before these become fewer. (Registers come from rules, or from
// fields that were noted when they were copied.)
func (w *walk) depend() {
	m, own, wc := w.res.Mask.Words(), w.own.Key.Words(), w.wc.Key.Words()
	for i := range m {
		m[i] |= own[i] & wc[i]
	}
	w.wc = flow.Fields{}
}

// dependOn notes that the result depends on the whole field.
func (w *walk) dependOn(ids ...flow.FieldID) {
	for _, id := range ids {
		w.wc.Cover(id)
	}
	w.looked()
}

// drop ends the walk; the result is false for the callers to hand on.
func (w *walk) drop(reason stats.DropReason) (flow.TableID, bool) {
	// Of the edits only the TTL counts: a packet that expires at one router does
	// not get to the next one, which would drop it for another reason.
	l := *w.list
	*w.list = action.List{Verdict: action.VerdictDrop, Reason: reason, Punt: l.Punt, TTL: l.TTL, TTLBefore: l.TTLBefore}
	if l.Edits&action.EditEchoReply != 0 {
		w.list.TTL = 0 // counted from the reply's 255, which no walk uses up
	}
	if w.list.TTL|w.list.TTLBefore != 0 {
		w.list.Edits = action.EditTTL
	}
	return 0, false
}

// act does one action other than goto; false if the walk ends.
func (w *walk) act(a *flow.Action) bool {
	on := true
	switch a.Op {
	case flow.OpSetField:
		on = w.set(a.Field, a.Value)
	case flow.OpCopyField:
		w.dependOn(a.Src)
		on = w.set(a.Field, w.f.Get(a.Src))
	case flow.OpSetFlags:
		w.f.Regs.Flags |= uint16(a.Num)
	case flow.OpPunt:
		w.list.Punt = a.Num
	case flow.OpDecTTL:
		on = w.decTTL()
	case flow.OpARPReply:
		on = w.arpReply(flow.MAC(a.Value[:6]))
	case flow.OpEchoReply:
		on = w.echoReply()
	case flow.OpDrop:
		_, on = w.drop(a.Reason)
	case flow.OpOutput:
		w.output(a.Port)
		return false
	case flow.OpTunnel:
		w.tunnel()
		return false
	default:
		_, on = w.drop(stats.DropBadRule)
	}
	return on
}

// output ends the walk at a port of this host.
func (w *walk) output(p flow.PortNo) {
	if p == flow.PortNone {
		p = w.f.OutPort
	}
	switch {
	case p == flow.PortNone:
		w.drop(stats.DropUnknownPort)
		return
	case p == flow.PortTunnel:
		w.drop(stats.DropBadRule)
		return
	}
	if w.f.Regs.Flags&flow.FlagLoopback == 0 {
		w.dependOn(flow.FieldInPort)
		if p == w.in {
			w.drop(stats.DropSamePort)
			return
		}
	}
	w.list.Verdict = action.VerdictOutput
	w.list.Out = p
	// What was relayed once is not relayed again: two hosts that each take the other for
	// the port's place would never be done with it.
	if r := &w.f.Regs; r.TunDst != 0 && r.Flags&flow.FlagRedirect == 0 && w.to(r.TunDst) {
		w.list.Tunnel.Flags |= flow.FlagRedirect
	}
	w.commit()
}

// tunnel ends the walk at another host.
func (w *walk) tunnel() {
	if !w.to(w.f.Regs.TunDst) {
		w.drop(stats.DropNoTunnel)
		return
	}
	w.list.Verdict = action.VerdictTunnel
	w.commit()
}

// to writes into the list how the packet gets to another host; false, and nothing
// done, if nobody knows the way there.
func (w *walk) to(host uint32) bool {
	n, ok := w.snap.neighbours[host]
	if ok {
		r := &w.f.Regs
		w.list.Tunnel = action.Tunnel{
			VNI: r.Datapath, Dst: host, MAC: n.MAC,
			SrcPort: r.SrcPort, DstPort: r.DstPort, Flags: r.Flags, Command: r.Command,
		}
	}
	return ok
}

// commit writes the values of the edited fields into the list.
func (w *walk) commit() {
	l, k := w.list, &w.f.Key
	if l.Edits&action.EditEthDst != 0 {
		l.EthDst = k.EthDst
	}
	if l.Edits&action.EditEthSrc != 0 {
		l.EthSrc = k.EthSrc
	}
	if l.Edits&action.EditIPSrc != 0 {
		l.IPSrc = k.IPSrc
	}
	if l.Edits&action.EditIPDst != 0 {
		l.IPDst = k.IPDst
	}
	if l.Edits&action.EditTOS != 0 {
		l.TOS = k.TOS
	}
	if l.Edits&action.EditL4Src != 0 {
		l.L4Src = k.L4Src
	}
	if l.Edits&action.EditL4Dst != 0 {
		l.L4Dst = k.L4Dst
	}
}

// isIP reports whether the packet is IPv4 or IPv6, and notes that it was asked.
func (w *walk) isIP() bool {
	w.dependOn(flow.FieldEthType)
	return w.f.EthType == flow.EtherTypeIPv4 || w.f.EthType == flow.EtherTypeIPv6
}

// beyond4 reports whether v, an address, is longer than an IPv4 address.
func beyond4(v *[16]byte) bool {
	return binary.BigEndian.Uint32(v[4:8]) != 0 || binary.BigEndian.Uint64(v[8:16]) != 0
}
