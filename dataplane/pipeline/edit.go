package pipeline

import (
	"baton/dataplane/action"
	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

// edits are the edits of the fields that rules may write.
var edits = [flow.NumFields]action.Edits{
	flow.FieldEthDst: action.EditEthDst,
	flow.FieldEthSrc: action.EditEthSrc,
	flow.FieldIPSrc:  action.EditIPSrc,
	flow.FieldIPDst:  action.EditIPDst,
	flow.FieldTOS:    action.EditTOS,
	flow.FieldL4Src:  action.EditL4Src,
	flow.FieldL4Dst:  action.EditL4Dst,
}

// set writes a field; false, and the packet is dropped, if it has no such field.
func (w *walk) set(id flow.FieldID, v [16]byte) bool {
	possible := true
	switch id {
	case flow.FieldIPSrc, flow.FieldIPDst:
		possible = w.isIP() && (w.f.EthType == flow.EtherTypeIPv6 || !beyond4(&v))
	case flow.FieldTOS:
		possible = w.isIP()
	case flow.FieldL4Src, flow.FieldL4Dst:
		possible = w.hasPorts()
	}
	if !possible {
		w.drop(stats.DropBadRule)
		return false
	}
	w.f.Put(id, v)
	if edits[id] != 0 {
		w.list.Edits |= edits[id]
		w.disown(id)
	}
	return true
}

// hasPorts reports whether the packet has TCP or UDP ports, and notes that it was asked.
func (w *walk) hasPorts() bool {
	if !w.isIP() {
		return false
	}
	w.dependOn(flow.FieldProto, flow.FieldFrag)
	return (w.f.Proto == flow.ProtoTCP || w.f.Proto == flow.ProtoUDP) && w.f.Frag&flow.FragLater == 0
}

// decTTL counts a router; the packet's TTL is looked at when the list is executed.
func (w *walk) decTTL() bool {
	if !w.isIP() {
		w.drop(stats.DropBadRule)
		return false
	}
	w.list.Edits |= action.EditTTL
	if w.list.TTL < 255 { // no packet has more
		w.list.TTL++
	}
	return true
}

// arpReply makes the ARP request a reply: who asked gets the answer that the
// target address is at mac.
func (w *walk) arpReply(mac flow.MAC) bool {
	w.dependOn(flow.FieldEthType, flow.FieldProto)
	if w.f.EthType != flow.EtherTypeARP || w.f.Proto != 1 {
		w.drop(stats.DropBadRule)
		return false
	}
	w.dependOn(flow.FieldEthSrc, flow.FieldIPSrc, flow.FieldIPDst)
	k := &w.f.Key
	k.EthDst, k.EthSrc = k.EthSrc, mac
	k.IPSrc, k.IPDst = k.IPDst, k.IPSrc
	k.Proto = 2
	w.rewritten(flow.FieldEthDst, flow.FieldEthSrc)
	w.list.ARPMAC = mac
	w.list.Edits |= action.EditARPReply | action.EditEthDst | action.EditEthSrc
	return true
}

// echoReply makes the ICMP or ICMPv6 echo request its reply, with TTL 255. A
// fragment cannot be answered: its checksum covers what is not there.
func (w *walk) echoReply() bool {
	if !w.isIP() {
		w.drop(stats.DropBadRule)
		return false
	}
	w.dependOn(flow.FieldProto, flow.FieldFrag, flow.FieldL4Src, flow.FieldL4Dst)
	k := &w.f.Key
	proto, request, reply := flow.ProtoICMP, uint16(8), uint16(0)
	if k.EthType == flow.EtherTypeIPv6 {
		proto, request, reply = flow.ProtoICMPv6, 128, 129
	}
	if k.Proto != proto || k.L4Src != request || k.L4Dst != 0 || k.Frag != 0 {
		w.drop(stats.DropBadRule)
		return false
	}
	w.dependOn(flow.FieldIPSrc, flow.FieldIPDst)
	k.IPSrc, k.IPDst = k.IPDst, k.IPSrc
	k.L4Src = reply
	w.rewritten(flow.FieldL4Src, flow.FieldL4Dst)
	l := w.list
	swapped := l.Edits &^ (action.EditIPSrc | action.EditIPDst)
	if l.Edits&action.EditIPSrc != 0 {
		swapped |= action.EditIPDst
	}
	if l.Edits&action.EditIPDst != 0 {
		swapped |= action.EditIPSrc
	}
	l.Edits = swapped | action.EditEchoReply
	l.TTLBefore, l.TTL = l.TTL, 0
	return true
}

// rewritten notes that a reply wrote addresses, protocol and the given fields:
// what they hold now was noted when the reply was made of it.
func (w *walk) rewritten(ids ...flow.FieldID) {
	w.disown(flow.FieldIPSrc, flow.FieldIPDst, flow.FieldProto)
	w.disown(ids...)
}

// disown notes that what the fields hold now is a rule's.
func (w *walk) disown(ids ...flow.FieldID) {
	w.depend()
	for _, id := range ids {
		w.own.Uncover(id)
	}
}
