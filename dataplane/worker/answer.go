package worker

import (
	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/pmtu"
	"baton/dataplane/stats"
)

// How many ICMP messages about packets that were too big go back to a port, by each
// worker: so many at once, and then so many a second. A sender needs one for each
// destination; nobody may use the switch to make traffic.
const (
	answersAtOnce  = 32
	answersASecond = 100
)

// quota is what is left of it for one port, and when it was last looked at.
type quota struct {
	left uint32
	at   uint64 // cycles
}

// take takes one message from the quota; false if none is left.
func (q *quota) take(now uint64) bool {
	each := toCycles(1e9 / answersASecond)
	switch {
	case q.at == 0:
		q.left, q.at = answersAtOnce, now
	case now-q.at >= each:
		n := (now - q.at) / each
		q.at += n * each
		q.left = uint32(min(uint64(q.left)+n, answersAtOnce))
	}
	if q.left == 0 {
		return false
	}
	q.left--
	return true
}

// tooBig reports whether packet i from queue r, which is longer than a frame without
// tag may be where l sends it, in a tunnel or not, is too big for that: the tunnel carries the tag, a guest
// gets it besides its MTU, and a super-segment goes in segments. If so its sender is
// told, unless the packet would not have got that far.
//
//	out: true, and drop[i]; false, and nothing done
func (w *Worker) tooBig(r *rxQueue, i int, l *action.List, tunnel bool) bool {
	k := w.work
	b, l2 := k.rx[i&(buf.Burst-1)], l2Size(&k.flows.Keys[i&(buf.Burst-1)])
	mtu := w.tunnelFrame - l2
	if l.Verdict == action.VerdictOutput && !tunnel {
		mtu = w.outs[k.out[i&(buf.Burst-1)]].maxFrame - hdr.EthernetSize
	}
	if b.WireLen() <= mtu+l2 {
		return false
	}
	answer := w.answerTo(r, b, mtu) // about the packet as it came: nothing is edited yet
	reason := action.Execute(b, l)
	if reason != stats.DropNone {
		w.cache.Free(answer)
	} else {
		reason = stats.DropTooBig
		w.reply(r, answer)
	}
	k.drop[i&(buf.Burst-1)] = reason
	return true
}

// l2Size is the size of a frame's Ethernet header and VLAN tags.
func l2Size(k *flow.Key) int {
	n := hdr.EthernetSize
	if k.VLAN != 0 {
		n += hdr.VLANSize
		if k.EthType == flow.EtherTypeVLAN {
			n += hdr.VLANSize
		}
	}
	return n
}

// answerTo is the ICMP message that tells the sender of b, a packet from queue r that has
// not been edited, that no more than mtu bytes get through; nil if nobody is to be told:
// the packet is none to be answered (package pmtu), the port had many answers
// already, no buffer is free. Packets from the underlay are not answered either: the
// way back through the tunnel is that of rules of another host, for packets that came
// through routers too, and that host has told its guests what gets through.
//
//	owner: the caller owns the message
func (w *Worker) answerTo(r *rxQueue, b *buf.Buf, mtu int) *buf.Buf {
	if r.underlay || !pmtu.Answers(b, mtu) || !w.quota[r.slot].take(cycles()) {
		return nil
	}
	a := w.cache.Alloc()
	if a != nil {
		pmtu.Answer(a, b, mtu)
	}
	return a
}

// reply sends what answerTo made, if it made anything, back by the port that the packet
// came from.
func (w *Worker) reply(r *rxQueue, a *buf.Buf) {
	if a == nil {
		return
	}
	w.ports[r.slot].Generated.Add(1)
	w.counters.Answers.Add(1)
	w.work.told.add(a, uint32(r.slot))
}
