package guest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"baton/vhost/proto"
)

// place is where one queue's parts lie, as offsets into the memory.
type place struct {
	ring, indirect, buf int
	chain, piece, slots int
	bufSize             int
}

// hugePage is the size of Config.HugePages, in bytes.
const hugePage = 2 << 20

// build makes memory and queues for the negotiated features.
func (g *Guest) build() error {
	places, need := g.plan()
	size := max(need, g.cfg.Size)
	if g.cfg.Size > 0 && need > g.cfg.Size {
		return fmt.Errorf("%d bytes of memory, and rings and buffers take %d", g.cfg.Size, need)
	}
	page := unix.Getpagesize()
	if g.cfg.HugePages {
		page = hugePage
	}
	var err error
	if g.mem, err = newMemoryOf("guest-"+g.cfg.Name, align(size, page), g.cfg.HugePages, g.cfg.Size > 0); err != nil {
		return err
	}
	for pair := range g.cfg.QueuePairs {
		rx := &RxQueue{queue: g.newQueue(2*pair, places[2*pair]), mergeable: g.features&proto.FeatureMrgRxbuf != 0}
		tx := &TxQueue{queue: g.newQueue(2*pair+1, places[2*pair+1])}
		g.Rx, g.Tx = append(g.Rx, rx), append(g.Tx, tx)
		if err := rx.openEvents(g.cfg.Blocking); err != nil {
			return err
		}
		if err := tx.openEvents(g.cfg.Blocking); err != nil {
			return err
		}
		rx.held = make([]uint16, 0, rx.slots)
		tx.free = make([]uint16, tx.slots)
		for i := range tx.free {
			tx.free[i] = uint16(tx.slots - 1 - i)
		}
		rx.fill()
	}
	return nil
}

// plan finds a place for everything; size is all of it in bytes.
func (g *Guest) plan() (places []place, size int) {
	places = make([]place, 2*g.cfg.QueuePairs)
	off := 0
	for i := range places {
		p := &places[i]
		p.chain, p.bufSize = g.cfg.RxChain, g.cfg.BufSize
		if i%2 == 1 {
			p.chain, p.bufSize, p.piece = g.cfg.TxChain, g.cfg.TxBufSize, g.cfg.TxPiece
		}
		p.slots = g.cfg.RingSize / p.chain
		p.ring = off
		d, a, u := ringBytes(g.cfg.RingSize, g.features&proto.FeatureRingPacked != 0)
		off += d + a + u
		// As real drivers do, a single descriptor goes without a table.
		if g.features&proto.FeatureIndirectDesc != 0 && p.chain > 1 {
			p.slots = g.cfg.RingSize
			p.indirect = off
			off += align(p.slots*p.chain*descSize, 64)
		}
	}
	g.split = align(off, unix.Getpagesize())
	off = g.split
	for i := range places {
		places[i].buf = off
		off += align(places[i].slots*places[i].bufSize, 64)
	}
	g.spare = align(off, unix.Getpagesize())
	return places, align(g.spare+g.cfg.Spare, unix.Getpagesize())
}

func (g *Guest) newQueue(index int, p place) queue {
	packed, event := g.features&proto.FeatureRingPacked != 0, g.features&proto.FeatureEventIdx != 0
	return queue{
		Ring:     newRing(g.mem, p.ring, g.cfg.RingSize, packed, event),
		index:    index,
		chain:    p.chain,
		piece:    p.piece,
		slots:    p.slots,
		inOrder:  g.features&proto.FeatureInOrder != 0,
		indirect: p.indirect,
		tableGPA: g.GuestAddr(p.indirect),
		buf:      p.buf,
		areas:    [2]area{{data: g.mem.data[p.buf:], gpa: g.GuestAddr(p.buf)}},
		bufSize:  p.bufSize,
		kick:     -1,
		call:     -1,
	}
}

// GuestAddr is the guest physical address of an offset into the memory.
func (g *Guest) GuestAddr(off int) uint64 {
	if g.cfg.MemRegions == 2 && off >= g.split {
		return guestBase + regionGap + uint64(off)
	}
	return guestBase + uint64(off)
}

// Regions are the memory as SET_MEM_TABLE describes it, what was plugged in included.
func (g *Guest) Regions() []proto.MemRegion {
	regions := g.baseRegions()
	for _, m := range g.plugged {
		regions = append(regions, m.region())
	}
	return regions
}

// baseRegions are the memory that the guest began with.
func (g *Guest) baseRegions() []proto.MemRegion {
	size := len(g.mem.data)
	part := func(from, to int) proto.MemRegion {
		return proto.MemRegion{
			GuestAddr:  g.GuestAddr(from),
			Size:       uint64(to - from),
			UserAddr:   g.mem.userAddr() + uint64(from),
			MmapOffset: uint64(from),
			FD:         g.mem.fd,
		}
	}
	if g.cfg.MemRegions == 2 {
		return []proto.MemRegion{part(0, g.split), part(g.split, size)}
	}
	return []proto.MemRegion{part(0, size)}
}

// start shares the memory and starts all rings at their used index.
func (g *Guest) start() error {
	queues := g.queues()
	for _, q := range queues {
		if err := g.SetU64(proto.SetVringCall, uint64(q.index), q.call); err != nil {
			return err
		}
	}
	if err := g.SetU64(proto.SetFeatures, g.features); err != nil {
		return err
	}
	if err := g.setStatus(0xb); err != nil {
		return err
	}
	if err := g.shareMemory(); err != nil {
		return err
	}
	for _, q := range queues {
		if err := g.startRing(q); err != nil {
			return fmt.Errorf("ring %d: %w", q.index, err)
		}
	}
	if err := g.setStatus(0xf); err != nil {
		return err
	}
	for _, q := range queues {
		if err := g.Enable(q.index, true); err != nil {
			return err
		}
		// Chains may wait since before a reconnect.
		q.DisarmCalls()
		q.Publish()
		q.Kick()
	}
	return nil
}

func (g *Guest) queues() []*queue {
	var qs []*queue
	for i := range g.Rx {
		qs = append(qs, &g.Rx[i].queue, &g.Tx[i].queue)
	}
	return qs
}

func (g *Guest) setStatus(status uint64) error {
	if g.protocol&proto.ProtocolStatus == 0 {
		return nil
	}
	return g.SetU64(proto.SetStatus, status)
}

func (g *Guest) shareMemory() error {
	if g.protocol&proto.ProtocolConfigureMemSlots != 0 {
		for _, r := range g.Regions() {
			if err := g.Set(proto.AddMemReg, proto.AppendMemReg(nil, r), r.FD); err != nil {
				return err
			}
		}
		return nil
	}
	return g.tellTable(g.plugged)
}

func (g *Guest) startRing(q *queue) error {
	if err := g.SetVring(proto.SetVringNum, q.index, uint32(q.num)); err != nil {
		return err
	}
	if err := g.SetVring(proto.SetVringBase, q.index, q.base()); err != nil {
		return err
	}
	if err := g.Set(proto.SetVringAddr, proto.AppendVringAddr(nil, g.VringAddr(q.Ring, q.index))); err != nil {
		return err
	}
	return g.SetU64(proto.SetVringKick, uint64(q.index), q.kick)
}

// VringAddr is the payload of SET_VRING_ADDR for a ring.
func (g *Guest) VringAddr(r *Ring, index int) proto.VringAddr {
	base := g.mem.userAddr()
	return proto.VringAddr{
		Index: uint32(index),
		Desc:  base + uint64(r.desc),
		Avail: base + uint64(r.driver),
		Used:  base + uint64(r.device),
	}
}

// Enable enables or disables a ring.
func (g *Guest) Enable(ring int, on bool) error {
	num := uint32(0)
	if on {
		num = 1
	}
	return g.SetVring(proto.SetVringEnable, ring, num)
}

// StopRing stops one ring and returns its state word: of a split ring the next
// available index, of a packed one both positions, see proto.Backend.SetVringBase.
func (g *Guest) StopRing(ring int) (uint32, error) {
	p, err := g.Get(proto.GetVringBase, proto.AppendVringState(nil, proto.VringState{Index: uint32(ring)}))
	if err != nil {
		return 0, err
	}
	v, err := proto.DecodeVringState(p)
	return v.Num, err
}

// Stop stops all rings, as a driver that unloads does.
func (g *Guest) Stop() error {
	for _, q := range g.queues() {
		if _, err := g.StopRing(q.index); err != nil {
			return err
		}
	}
	return g.setStatus(0)
}
