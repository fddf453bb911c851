package guest

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Counters count one queue. Read them when the queue is at rest.
type Counters struct {
	Packets, Bytes uint64 // frames given to, or got from, the device
	Full           uint64 // send bursts that found too little room
	Kicks          uint64 // kicks given
	KicksSpared    uint64 // publishes that the device wanted no kick for
	Calls          uint64 // waits that a call ended
	Bad            uint64 // completions that a device must not make; skipped
}

// queue is what both directions have in common. A slot is a buffer and the id of its
// chain. Slot s of a split ring owns the descriptors s*chain to s*chain+chain-1, or
// descriptor s with an indirect table; chains of a packed ring lie where its position
// is. Slots are taken in turn with IN_ORDER.
type queue struct {
	*Ring
	Counters Counters

	index    int // of the ring in the device
	chain    int // descriptors a chain at most
	piece    int // bytes of a descriptor behind the header's, 0: even parts, always chain of them
	slots    int
	bufSize  int
	inOrder  bool
	oldest   int    // with inOrder: the slot that comes back next
	indirect int    // offset of the indirect tables, 0 if unused
	tableGPA uint64 // guest physical address of the indirect tables
	buf      int    // offset of slot 0's buffer

	areas [2]area
	at    []uint8 // the area of each slot's buffer, nil: 0
	to    uint8   // the area that slots go to when they are offered next

	kick, call int      // eventfds
	callFile   *os.File // call, for blocking reads
}

// area is where a queue's buffers lie: slot s at data[s*bufSize].
type area struct {
	data []byte
	gpa  uint64
}

// pieces is the number of descriptors for n bytes, header included.
func (q *queue) pieces(n int) int {
	if q.piece == 0 || q.chain == 1 {
		return q.chain
	}
	return min(q.chain, 1+max(1, (n-HdrLen+q.piece-1)/q.piece))
}

// cut is the length of piece i of k of n bytes, header included: the header alone when
// there is more than one piece, the rest in parts of size, or even ones if size is 0;
// the last piece has what is left.
func cut(i, k, n, size int) int {
	if k == 1 {
		return n
	}
	if i == 0 {
		return HdrLen
	}
	n -= HdrLen
	if size == 0 {
		size = n / (k - 1)
	}
	if i == k-1 {
		return n - size*(k-2)
	}
	return size
}

// lay writes a slot's chain for n bytes, but for what a packed ring has in the ring
// itself, and returns the number of its descriptors.
func (q *queue) lay(slot, n int, flags uint16) (k int) {
	k = q.pieces(n)
	if q.packed && q.indirect == 0 {
		return k
	}
	addr := q.addr(slot)
	at := slot * q.chain
	if q.indirect != 0 {
		at *= descSize
		if !q.packed {
			q.SetDesc(slot, Desc{Addr: q.tableGPA + uint64(at), Len: uint32(k * descSize), Flags: DescIndirect})
		}
	}
	for i := range k {
		d := Desc{Addr: addr, Len: uint32(cut(i, k, n, q.piece)), Flags: flags}
		addr += uint64(d.Len)
		if i < k-1 && !q.packed { // tables of packed rings have no links (virtio 1.2, 2.8.7)
			d.Flags |= DescNext
		}
		if q.indirect != 0 {
			d.Next = uint16(i+1) * (d.Flags & DescNext)
			q.putDesc(q.mem.data[q.indirect+at+i*descSize:], d)
		} else {
			d.Next = uint16(at+i+1) * (d.Flags & DescNext)
			q.SetDesc(at+i, d)
		}
	}
	return k
}

// give offers the slot's chain of k descriptors, laid before, of n bytes.
func (q *queue) give(slot, k, n int, flags uint16) {
	id := uint16(slot)
	switch {
	case !q.packed:
		q.Push(q.head(slot))
	case q.indirect != 0:
		table := q.tableGPA + uint64(slot*q.chain*descSize)
		q.add(Desc{Addr: table, Len: uint32(k * descSize), Flags: DescIndirect}, id)
		q.endChain(id, 1)
	case k == 1:
		q.add(Desc{Addr: q.addr(slot), Len: uint32(n), Flags: flags}, id)
		q.endChain(id, 1)
	default:
		addr := q.addr(slot)
		for i := range k {
			d := Desc{Addr: addr, Len: uint32(cut(i, k, n, q.piece)), Flags: flags}
			addr += uint64(d.Len)
			if i < k-1 {
				d.Flags |= DescNext
			}
			q.add(d, id)
		}
		q.endChain(id, k)
	}
}

// head is the descriptor that a slot's chain of a split ring begins with.
func (q *queue) head(slot int) uint16 {
	if q.indirect != 0 {
		return uint16(slot)
	}
	return uint16(slot * q.chain)
}

// slot is the slot of a used element by its id; false if it is none's.
func (q *queue) slot(id uint32) (int, bool) {
	step := q.chain
	if q.packed || q.indirect != 0 {
		step = 1
	}
	if step == 1 {
		return int(id), id < uint32(q.slots)
	}
	s := int(id) / step
	return s, id < uint32(q.slots*step) && int(id)%step == 0
}

// id is the id of a slot's chain in used elements.
func (q *queue) id(slot int) uint32 {
	if q.packed {
		return uint32(slot)
	}
	return uint32(q.head(slot))
}

// take takes the next used element: the slot, and the bytes that the device wrote. An
// in-order device may give back a batch by the last one's element: then the slots from
// oldest to slot are back, num of them. Ready was true.
//
// bad tells of an id that names no slot that the device has.
func (q *queue) take() (slot, num int, n uint32, bad bool) {
	id, n := q.element()
	slot, ok := q.slot(id)
	num = 1
	if ok && q.inOrder {
		if num = slot - q.oldest + 1; num <= 0 {
			num += q.slots
		}
	}
	if !ok || num > q.flight {
		q.skip(id)
		q.Counters.Bad++
		return 0, 0, 0, true
	}
	if !q.inOrder {
		q.skip(id)
		return slot, 1, n, false
	}
	for range num {
		q.skip(q.id(q.oldest))
		q.oldest = q.after(q.oldest)
	}
	return slot, num, n, false
}

// after is the slot after s in turn.
func (q *queue) after(s int) int {
	if s++; s == q.slots {
		return 0
	}
	return s
}

// base is the state word to go on with after the device died: as far as it has given
// chains back, whether or not they were taken.
func (q *queue) base() uint32 {
	if !q.packed {
		return uint32(q.UsedIdx())
	}
	// A copy goes on: what Ready and take change is its own.
	r, ahead := *q.Ring, *q
	ahead.Ring = &r
	for ahead.flight > 0 && ahead.Ready() {
		ahead.take()
	}
	w := uint32(r.packd.used.word())
	return w | w<<16
}

func (q *queue) where(slot int) *area {
	if q.at == nil {
		return &q.areas[0]
	}
	return &q.areas[q.at[slot]]
}

// addr is the guest physical address of a slot's buffer.
func (q *queue) addr(slot int) uint64 { return q.where(slot).gpa + uint64(slot*q.bufSize) }

func (q *queue) buffer(slot int) []byte {
	off := slot * q.bufSize
	return q.where(slot).data[off : off+q.bufSize : off+q.bufSize]
}

// publish makes the offered chains the device's and kicks it if it wants.
func (q *queue) publish() {
	if !q.Publish() {
		q.Counters.KicksSpared++
		return
	}
	q.Kick()
}

var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// Kick kicks the device.
func (q *queue) Kick() {
	q.Counters.Kicks++
	// A full counter is as good as another kick.
	unix.Write(q.kick, one)
}

// Index is the ring's index in the device.
func (q *queue) Index() int { return q.index }

// CallFD is the eventfd that the device calls by; KickFD the one that Kick writes.
func (q *queue) CallFD() int { return q.call }
func (q *queue) KickFD() int { return q.kick }

// Wait blocks until the device has completed something, at most until the
// deadline (zero: for ever). It needs Config.Blocking.
//
//	error: os.ErrDeadlineExceeded; os.ErrClosed after Guest.Close
func (q *queue) Wait(deadline time.Time) error {
	if q.callFile == nil {
		return errors.New("guest: not set up for blocking")
	}
	defer q.DisarmCalls()
	if err := q.callFile.SetReadDeadline(deadline); err != nil {
		return err
	}
	var b [8]byte
	for !q.ArmCalls() {
		if _, err := q.callFile.Read(b[:]); err != nil {
			return err
		}
		q.Counters.Calls++
	}
	return nil
}

// BufferOffset is where the queue's buffers lie in the memory that the guest began with.
func (q *queue) BufferOffset() int { return q.buf }
