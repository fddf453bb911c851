package guest

import (
	"fmt"
	"slices"

	"baton/vhost/proto"

	"golang.org/x/sys/unix"
)

// Memory is a region that was plugged into a running guest.
type Memory struct {
	mem *memory
	gpa uint64
}

// Bytes are the region's contents; GuestAddr is where it begins; FD its file.
func (m *Memory) Bytes() []byte     { return m.mem.data }
func (m *Memory) GuestAddr() uint64 { return m.gpa }
func (m *Memory) FD() int           { return m.mem.fd }

func (m *Memory) region() proto.MemRegion {
	return proto.MemRegion{GuestAddr: m.gpa, Size: uint64(len(m.mem.data)), UserAddr: m.mem.userAddr(), FD: m.mem.fd}
}

// AddMemory plugs in at least size bytes while the rings run: by ADD_MEM_REG where
// that was negotiated, else by a new table of all regions, as QEMU does.
//
//	error: no memory, or the back end refused; nothing has changed then
//	owner: the guest; RemoveMemory or Close frees it
func (g *Guest) AddMemory(size int) (*Memory, error) {
	mem, err := newMemory("guest-"+g.cfg.Name+"-plugged", align(size, unix.Getpagesize()))
	if err != nil {
		return nil, err
	}
	at := uint64(guestBase + 4*regionGap)
	for _, m := range g.plugged {
		at = max(at, m.gpa+uint64(len(m.mem.data)))
	}
	m := &Memory{mem: mem, gpa: at}
	all := append(slices.Clone(g.plugged), m)
	if g.protocol&proto.ProtocolConfigureMemSlots != 0 {
		r := m.region()
		err = g.Set(proto.AddMemReg, proto.AppendMemReg(nil, r), r.FD)
	} else {
		err = g.tellTable(all)
	}
	if err != nil {
		mem.close()
		return nil, err
	}
	g.plugged = all
	return m, nil
}

// RemoveMemory takes a plugged region away and frees it. No queue may use it: see Moved.
//
//	error: the back end refused; the region stays
func (g *Guest) RemoveMemory(m *Memory) error {
	rest := slices.DeleteFunc(slices.Clone(g.plugged), func(o *Memory) bool { return o == m })
	var err error
	if g.protocol&proto.ProtocolConfigureMemSlots != 0 {
		err = g.Set(proto.RemMemReg, proto.AppendMemReg(nil, m.region()))
	} else {
		err = g.tellTable(rest)
	}
	if err != nil {
		return err
	}
	g.plugged = rest
	m.mem.close()
	return nil
}

// tellTable sends all regions by SET_MEM_TABLE.
func (g *Guest) tellTable(plugged []*Memory) error {
	regions := g.baseRegions()
	for _, m := range plugged {
		regions = append(regions, m.region())
	}
	fds := make([]int, len(regions))
	for i, r := range regions {
		fds[i] = r.FD
	}
	return g.Set(proto.SetMemTable, proto.AppendMemTable(nil, regions), fds...)
}

// BufferBytes is the room that a queue's buffers take.
func (q *queue) BufferBytes() int { return q.slots * q.bufSize }

// MoveBuffers has the queue's buffers move to m, from off on, or back to where they
// were if m is nil: each when it is offered next, so that traffic goes on.
//
//	error: m is too small, or an earlier move is not over
func (q *queue) MoveBuffers(m *Memory, off int) error {
	switch {
	case !q.Moved():
		return fmt.Errorf("ring %d: buffers are on the move already", q.index)
	case m != nil && off+q.BufferBytes() > len(m.mem.data):
		return fmt.Errorf("ring %d: %d bytes of buffers do not fit behind %d of %d", q.index, q.BufferBytes(), off, len(m.mem.data))
	}
	if q.at == nil {
		q.at = make([]uint8, q.slots)
	}
	q.to = 0
	if m != nil {
		q.areas[1] = area{data: m.mem.data[off:], gpa: m.gpa + uint64(off)}
		q.to = 1
	}
	return nil
}

// move brings a slot that is about to be offered to where buffers are to be.
func (q *queue) move(slot int) {
	if q.at != nil {
		q.at[slot] = q.to
	}
}

// Moved tells whether all buffers are where MoveBuffers wants them; the device may
// still have some of a TxQueue that were sent before, see Pending.
func (q *queue) Moved() bool {
	for _, at := range q.at {
		if at != q.to {
			return false
		}
	}
	return true
}

// Settle makes the queue's idle buffers move now.
func (q *TxQueue) Settle() {
	q.reclaim()
	if q.at == nil {
		return
	}
	if q.inOrder {
		for i, s := 0, q.next; i < q.room(); i, s = i+1, q.after(s) {
			q.at[s] = q.to
		}
		return
	}
	for _, s := range q.free {
		q.at[s] = q.to
	}
}
