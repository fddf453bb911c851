package ethdev

/*
#cgo pkg-config: libdpdk
#cgo noescape baton_burst_poll
#cgo nocallback baton_burst_poll
#cgo noescape baton_burst_flush
#cgo nocallback baton_burst_flush
#cgo noescape baton_burst_recv
#cgo nocallback baton_burst_recv
#cgo noescape baton_burst_drop
#cgo nocallback baton_burst_drop
#include "burst.h"

enum {
	OFF_TX_NUM = offsetof(struct baton_burst, tx_num),
	OFF_RX_NUM = offsetof(struct baton_burst, rx_num),
	OFF_PREPARE = offsetof(struct baton_burst, prepare),
	OFF_REFUSED = offsetof(struct baton_burst, refused),
	OFF_TX = offsetof(struct baton_burst, tx),
	OFF_RX = offsetof(struct baton_burst, rx),
	SIZE_BURST = sizeof(struct baton_burst),
};
*/
import "C"

import (
	"unsafe"

	"baton/dataplane/buf"
)

// TxStage is the most packets that wait in a Burst for the next poll: what four
// ports may send in one iteration of a worker.
const TxStage = C.BATON_TX_STAGE

// block is struct baton_burst. It lies outside Go's heap: C gets its address,
// and cgo has nothing to check.
type block struct {
	port, queue  uint16
	lcore        uint32
	txNum, rxNum uint32
	prepare      uint32
	refused      uint32
	tx           [TxStage]*buf.Buf
	rx           [buf.Burst]*buf.Buf
}

// The layouts agree, or this does not compile.
const (
	_ = -(uint(unsafe.Offsetof(block{}.txNum)) ^ C.OFF_TX_NUM)
	_ = -(uint(unsafe.Offsetof(block{}.rxNum)) ^ C.OFF_RX_NUM)
	_ = -(uint(unsafe.Offsetof(block{}.prepare)) ^ C.OFF_PREPARE)
	_ = -(uint(unsafe.Offsetof(block{}.refused)) ^ C.OFF_REFUSED)
	_ = -(uint(unsafe.Offsetof(block{}.tx)) ^ C.OFF_TX)
	_ = -(uint(unsafe.Offsetof(block{}.rx)) ^ C.OFF_RX)
	_ = -(uint(unsafe.Sizeof(block{})) ^ C.SIZE_BURST)
	_ = -(uint(buf.Burst) ^ C.BATON_RX_BURST)
)

// Burst moves packets through one queue pair of a started port.
//
//	conc: one goroutine at a time, on any thread    alloc: 0 after NewBurst
type Burst struct {
	// SAFETY: mapped memory with the layout of struct baton_burst, which the
	// compiler checked above; C gets its address in each call and keeps none.
	b *block
}

// NewBurst is a Burst for a queue pair. lcore is an id from eal.AllocLcore that
// this Burst alone uses, or eal.NoLcore: then drivers use the pool's ring.
//
//	error: no memory
func NewBurst(port Port, queue, lcore int) (*Burst, error) {
	b, err := buf.NewOffHeap[block]()
	if err != nil {
		return nil, err
	}
	b.port, b.queue, b.lcore = uint16(port), uint16(queue), uint32(int32(lcore))
	return &Burst{b}, nil
}

// Stage takes v[from:n] for the next poll, in order, as far as there is room, and
// returns how many it took: those belong to the Burst.
func (t *Burst) Stage(v *buf.Vec, from, n int) int {
	took := copy(t.b.tx[t.b.txNum:], v[from:n])
	t.b.txNum += uint32(took)
	return took
}

// Prepare has the driver look at what is staged before it is sent
// (rte_eth_tx_prepare), as it must if some packet asks for offloads: it writes the
// sums that its device wants, and refuses what its device cannot do.
func (t *Burst) Prepare() { t.b.prepare = 1 }

// Refused is the number of packets that the driver refused since the last call; they
// were freed.
func (t *Burst) Refused() int {
	n := t.b.refused
	t.b.refused = 0
	return int(n)
}

// Poll sends what is staged and receives up to a burst, in one C call; it returns
// the number of packets that Take will give. What the device had no room for
// stays staged.
func (t *Burst) Poll() int {
	C.baton_burst_poll((*C.struct_baton_burst)(unsafe.Pointer(t.b)))
	return int(t.b.rxNum)
}

// Recv is Poll without sending.
func (t *Burst) Recv() int {
	C.baton_burst_recv((*C.struct_baton_burst)(unsafe.Pointer(t.b)))
	return int(t.b.rxNum)
}

// Flush is Poll without receiving.
func (t *Burst) Flush() {
	if t.b.txNum > 0 {
		C.baton_burst_flush((*C.struct_baton_burst)(unsafe.Pointer(t.b)))
	}
}

// Take moves what was received to v, from v[0] on, and returns the number.
//
//	owner: the caller owns the buffers
func (t *Burst) Take(v *buf.Vec) int {
	n := copy(v[:], t.b.rx[:t.b.rxNum])
	t.b.rxNum = 0
	return n
}

// Staged is the number of packets that wait to be sent.
func (t *Burst) Staged() int { return int(t.b.txNum) }

// Received is the number of packets that wait to be taken.
func (t *Burst) Received() int { return int(t.b.rxNum) }

// DropStaged frees what waits to be sent and returns how many that were.
func (t *Burst) DropStaged() int {
	n := int(t.b.txNum)
	received := t.b.rxNum
	t.b.rxNum = 0 // C frees neither of those
	t.Drop()
	t.b.rxNum = received
	return n
}

// Drop frees all packets that wait, in either direction.
func (t *Burst) Drop() { C.baton_burst_drop((*C.struct_baton_burst)(unsafe.Pointer(t.b))) }

// Close drops all packets that wait and frees the Burst; it must not be used
// afterwards.
func (t *Burst) Close() error {
	if t.b == nil {
		return nil
	}
	t.Drop()
	b := t.b
	t.b = nil
	return buf.FreeOffHeap(b)
}
