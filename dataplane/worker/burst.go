package worker

import (
	"math/bits"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/cache"
	"baton/dataplane/flow"
	"baton/dataplane/overlay"
	"baton/dataplane/parse"
	"baton/dataplane/stats"
)

// batch is up to a burst of packets on their way out.
type batch struct {
	n    int
	in   uint16 // slot of the ingress port of them all
	v    buf.Vec
	hash [buf.Burst]uint32 // of the flows, where the worker spreads
}

// begin empties the batch for packets that came in by slot in.
func (t *batch) begin(in uint16) { t.n, t.in = 0, in }

// add appends a packet; the batch must not be full.
func (t *batch) add(b *buf.Buf, hash uint32) {
	i := t.n & (buf.Burst - 1)
	t.v[i], t.hash[i] = b, hash
	t.n++
}

// cut takes the first n packets out of the batch.
func (t *batch) cut(n int) {
	t.n = copy(t.v[:], t.v[n:t.n])
	copy(t.hash[:], t.hash[n:n+t.n])
}

// work is what a burst is worked on with. It lies outside the heap: no write
// barriers, and a vector that goes to a NIC is not scanned.
type work struct {
	rx    buf.Vec
	flows cache.Burst
	tun   [buf.Burst]*action.Tunnel   // of the flow entries, for those that go in a tunnel
	out   [buf.Burst]uint16           // slots of the output ports; of meaning where drop is DropNone
	drop  [buf.Burst]stats.DropReason // why the packet is not to be sent
	tx    batch
	split batch
	made  batch // frames that finish hands on
	told  batch // ICMP messages back to the ingress port
}

// sizes is the sum of the frames' lengths, and all their flags.
func (t *batch) sizes() (bytes, flags uint64) {
	for i := range t.n {
		b := t.v[i&(buf.Burst-1)]
		bytes += uint64(b.PktLen)
		flags |= b.OlFlags
	}
	return bytes, flags
}

// receive takes one burst from a queue through the switch and returns its size.
func (w *Worker) receive(r *rxQueue) int {
	k := w.work
	n := r.q.Rx(w.cache, &k.rx)
	if n == 0 {
		if r.carrier != nil {
			return r.carrier.Carried()
		}
		return 0
	}
	w.full = w.full || n == buf.Burst
	var bytes uint64
	for i := range n {
		bytes += uint64(k.rx[i&(buf.Burst-1)].PktLen)
	}
	c := &w.ports[r.slot]
	c.RxPackets.Add(uint64(n))
	c.RxBytes.Add(bytes)
	w.counters.Packets.Add(uint64(n))

	m := w.enter(r, n)
	m = w.parse(r.slot, m)
	if m > 0 {
		k.flows.Num = m
		k.told.begin(r.slot)
		w.segments, w.effort = 0, 0
		steps := w.decide(r)
		w.forward(r.slot, m)
		if k.told.n > 0 {
			w.send(r.slot, &k.told)
		}
		if !r.underlay { // all remote hosts share it: one flood must not make the others wait
			r.debt += steps + w.effort
		}
	}
	return n
}

// turnSteps is how many tables walks may look into for one queue in one
// iteration: in that time (some 5 us) a burst of known flows is received and sent.
const turnSteps = 64

// waits reports whether the queue misses this turn, because the walks for its
// last burst, or the cutting of its super-segments, took as long as several turns of
// other queues. A walk costs ten times what a known flow's packet does, a
// super-segment up to a hundred times and more: without this a guest that sends to
// ever new addresses would have the worker nearly to itself. In an alone iteration, the
// one before which moved no packet, nobody is there to wait for.
func (r *rxQueue) waits(alone bool) bool {
	if alone {
		r.debt = 0
	}
	if r.debt < turnSteps {
		return false
	}
	r.debt -= turnSteps
	return true
}

// enter says by which logical port the packets come in; those from the underlay
// leave their tunnel. Survivors move up, in order.
//
//	out: rx[:m] and the ingress fields of flows.Keys[:m]
func (w *Worker) enter(r *rxQueue, n int) (m int) {
	k := w.work
	if !r.underlay {
		if r.number == flow.PortNone {
			for i := range n {
				w.dropped(k.rx[i], r.slot, stats.DropUnknownInPort)
			}
			return 0
		}
		for i := range n { // the other fields are the parser's
			key := &k.flows.Keys[i&(buf.Burst-1)]
			key.InPort = r.number
			key.VNI, key.TunSrc = 0, 0
			key.SrcPort, key.DstPort, key.Flags, key.Command = 0, 0, 0, 0
		}
		return n
	}
	e := w.pool.cfg.Endpoint
	k.tx.begin(r.slot)
	for i := range n {
		b := k.rx[i&(buf.Burst-1)]
		verdict, reason := overlay.Drop, stats.DropNotForUs
		if e != nil {
			verdict, reason = e.Receive(b, &w.peers, &k.flows.Keys[m&(buf.Burst-1)])
		}
		switch verdict {
		case overlay.Deliver:
			k.rx[m&(buf.Burst-1)] = b
			m++
		case overlay.Reply:
			k.tx.add(b, 0)
		default:
			w.dropped(b, r.slot, reason)
		}
	}
	if k.tx.n > 0 {
		w.send(r.slot, &k.tx)
	}
	return m
}

// parse fills the keys from the frames. Survivors move up, in order.
func (w *Worker) parse(in uint16, n int) (m int) {
	k := w.work
	odd := parse.Burst(&k.rx, n, &k.flows.Keys)
	if odd == 0 {
		return n
	}
	for i := range n {
		if odd>>i&1 != 0 {
			if reason := parseOdd(k.rx[i&(buf.Burst-1)], &k.flows.Keys[i&(buf.Burst-1)]); reason != stats.DropNone {
				w.dropped(k.rx[i&(buf.Burst-1)], in, reason)
				continue
			}
		}
		if m != i {
			k.rx[m&(buf.Burst-1)] = k.rx[i&(buf.Burst-1)]
			k.flows.Keys[m&(buf.Burst-1)] = k.flows.Keys[i&(buf.Burst-1)]
		}
		m++
	}
	return m
}

// parseOdd fills the key of a frame that is not of the common case.
func parseOdd(b *buf.Buf, key *flow.Key) stats.DropReason {
	switch {
	case b.NbSegs == 1:
		return parse.Frame(b.Data(), key)
	case b.OlFlags&buf.TxTCPSeg != 0: // it will be cut
		return parse.Head(b.Data(), b.Len(), key)
	}
	return stats.DropTooBig // a frame in segments is larger than any output takes
}

// decide looks the packets up and does what their flows say, all but sending. It
// returns what the walks of the pipeline cost, in tables.
func (w *Worker) decide(r *rxQueue) (steps uint64) {
	k := w.work
	before := w.flows.Counters.Steps.Load()
	if w.hashed = w.spreads; w.hashed {
		w.flows.Hash(&k.flows)
	}
	for miss := w.flows.LookupBurst(&k.flows, w.snap.Generation()); miss != 0; miss &= miss - 1 {
		w.flows.Miss(w.snap, &k.flows, bits.TrailingZeros32(miss))
	}
	var tunnels uint32
	hits := run{entry: k.flows.Entries[0]}
	for i := range min(k.flows.Num, buf.Burst) {
		e := k.flows.Entries[i]
		l, size := &e.Actions, int(k.rx[i].PktLen)
		switch {
		case l.Edits != 0 && l.Edits != action.EditsRouted || l.Punt != 0:
			w.act(r, i, e)
		case l.Verdict == action.VerdictTunnel && size <= w.tunnelFrame && k.route(i, l):
			hits.add(e, size)
			k.tun[i], k.out[i] = &l.Tunnel, w.lay.uplink
			tunnels |= 1 << i
		case l.Verdict == action.VerdictOutput && l.Tunnel.Dst == 0 && w.fits(i, l.Out, size) && k.route(i, l):
			hits.add(e, size)
		default:
			w.act(r, i, e)
		}
	}
	hits.end()
	if tunnels != 0 {
		w.push(tunnels)
	}
	return w.flows.Counters.Steps.Load() - before
}

// route makes the edits of packet i, whose list has none or those of routers; false if they
// are not as simple as that, and nothing is done.
func (k *work) route(i int, l *action.List) bool {
	return l.Edits == 0 || action.Route(k.rx[i&(buf.Burst-1)].Data(), l)
}

// run counts packets in a row that go by the same entry, to touch its counters once.
type run struct {
	entry          *cache.Entry
	packets, bytes uint64
}

// add counts a packet of size bytes that goes by e.
func (r *run) add(e *cache.Entry, size int) {
	if e != r.entry {
		r.end()
		*r = run{entry: e}
	}
	r.packets++
	r.bytes += uint64(size)
}

// end tells the entry.
func (r *run) end() {
	if r.packets > 0 {
		r.entry.Hit(r.packets, r.bytes)
	}
}

// fits reports whether packet i, of size bytes, may go to logical port number as it is.
//
//	out: true, out[i] and drop[i]; false, and act has to find out why
func (w *Worker) fits(i int, number flow.PortNo, size int) bool {
	out := w.resolve(number)
	if out >= MaxPorts || size > w.outs[out].maxFrame {
		return false
	}
	w.work.out[i&(buf.Burst-1)], w.work.drop[i&(buf.Burst-1)] = out, stats.DropNone
	return true
}

// push puts the packets of set into the tunnels tun.
//
//	out: drop
func (w *Worker) push(set uint32) {
	k := w.work
	if e := w.pool.cfg.Endpoint; e != nil {
		w.hash()
		e.PushBurst(&k.rx, set, &k.tun, &k.flows.Hashes, &k.drop)
		return
	}
	for ; set != 0; set &= set - 1 {
		k.drop[bits.TrailingZeros32(set)&(buf.Burst-1)] = stats.DropNoTunnel
	}
}

// hash makes sure of the hashes of this burst's flows: where no port has several queues,
// tunnels alone need them.
func (w *Worker) hash() {
	if !w.hashed {
		w.flows.Hash(&w.work.flows)
		w.hashed = true
	}
}

// act does with packet i, from queue r, what entry e says.
//
//	out: drop[i], and out[i] if that is DropNone
func (w *Worker) act(r *rxQueue, i int, e *cache.Entry) {
	k := w.work
	i &= buf.Burst - 1
	b := k.rx[i]
	e.Hit(1, uint64(b.PktLen))
	l := &e.Actions
	punted := true
	if l.Punt != 0 {
		punted = w.punt(b, &k.flows.Keys[i], l.Punt)
	}
	maxFrame, tunnel := w.tunnelFrame, l.Verdict == action.VerdictTunnel
	if tunnel {
		k.out[i] = w.lay.uplink
	} else {
		maxFrame, tunnel = w.way(i, l)
	}
	if int(b.PktLen) > maxFrame && w.tooBig(r, i, l, tunnel) { // a shorter one fits, whatever it is
		return
	}
	reason := action.Execute(b, l)
	switch {
	case reason != stats.DropNone:
		if reason == stats.DropInjected && !punted {
			reason = stats.DropPuntFull
		}
	case tunnel:
		reason = stats.DropNoTunnel
		if ep := w.pool.cfg.Endpoint; ep != nil {
			w.hash()
			reason = ep.Push(b, &l.Tunnel, k.flows.Hashes[i])
		}
	}
	k.drop[i] = reason
}

// way finds out to which port of this host packet i goes, if l lets it go to any,
// whether it goes in a tunnel instead, and how large a frame without VLAN tag may be
// there, in bytes.
//
//	out: out[i]
func (w *Worker) way(i int, l *action.List) (maxFrame int, tunnel bool) {
	if l.Verdict != action.VerdictOutput {
		return noLimit, false
	}
	k := w.work
	out := w.resolve(l.Out)
	if l.Tunnel.Dst != 0 && (out >= MaxPorts || !w.outs[out].live()) {
		k.out[i] = w.lay.uplink
		return w.tunnelFrame, true
	}
	k.out[i] = out
	if out >= MaxPorts {
		return noLimit, false
	}
	return w.outs[out].maxFrame, false
}

// forward sends rx[:n], one burst for each output port; the packets of a port
// keep their order.
func (w *Worker) forward(in uint16, n int) {
	k := w.work
	if out, ok := k.together(n); ok {
		t := &k.tx
		t.n, t.in, t.v = n, in, k.rx
		if w.spreads {
			for i := range n {
				t.hash[i&(buf.Burst-1)] = uint32(k.flows.Hashes[i&(buf.Burst-1)])
			}
		}
		w.send(out, t)
		return
	}
	left := uint64(1)<<n - 1
	for i := range n {
		if left>>i&1 == 0 {
			continue
		}
		if reason := k.drop[i&(buf.Burst-1)]; reason != stats.DropNone {
			w.dropped(k.rx[i&(buf.Burst-1)], in, reason)
			continue
		}
		out := k.out[i&(buf.Burst-1)]
		k.tx.begin(in)
		for j := i; j < n; j++ {
			if left>>j&1 != 0 && k.out[j&(buf.Burst-1)] == out && k.drop[j&(buf.Burst-1)] == stats.DropNone {
				left &^= 1 << j
				k.tx.add(k.rx[j&(buf.Burst-1)], uint32(k.flows.Hashes[j&(buf.Burst-1)]))
			}
		}
		w.send(out, &k.tx)
	}
}

// together reports whether all of the first n packets go to the same port, and to which:
// guests send trains, so that most bursts do.
func (k *work) together(n int) (out uint16, ok bool) {
	out = k.out[0]
	var diff uint16
	for i := range n {
		diff |= k.out[i&(buf.Burst-1)] ^ out | uint16(k.drop[i&(buf.Burst-1)])
	}
	return out, diff == 0
}

// dropped frees a packet that came in by slot in and counts why.
func (w *Worker) dropped(b *buf.Buf, in uint16, reason stats.DropReason) {
	w.ports[in].Drops[reason].Add(1)
	w.cache.Free(b)
}
