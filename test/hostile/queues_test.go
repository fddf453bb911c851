package hostile_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/dataplane/stats"
	"baton/vhost/guest"
	"baton/vhost/proto"
)

const (
	manyPairs = 8
	flowNum   = 64
	// manyOnTheWay is how many frames may be under way to a VM: fewer than the one queue
	// that is always enabled has room for.
	manyOnTheWay = 192
)

// manyQueues is a VM with eight queue pairs that its driver, one goroutine, sends and
// receives on, each flow by a queue of its own as long as that is on.
type manyQueues struct {
	*vm
	to   *manyQueues
	on   [manyPairs]atomic.Bool  // the driver sends by this queue
	rest [manyPairs]atomic.Int64 // frames that the device has of it
	do   chan func()             // for the driver, between two rounds
	stop *atomic.Bool
	sent atomic.Uint64
	got  atomic.Uint64
	seen [flowNum]map[uint32]bool // frames of the other's
	next [flowNum]uint32
	errs []error
}

// flowFrame is frame seq of a flow: UDP over IPv4, which has a hash of its own.
func flowFrame(from, to, flow int, seq uint32) []byte {
	f, _ := superFrame(from, to, 60+int(seq%900), 1)
	f[23] = 17 // UDP; nobody checks a sum of the header that differs
	f[24], f[25] = 0, 0
	binary.BigEndian.PutUint16(f[34:], uint16(1000+flow))
	binary.BigEndian.PutUint16(f[38:], uint16(len(f)-34))
	binary.BigEndian.PutUint16(f[40:], 0)
	binary.BigEndian.PutUint32(f[60:], seq)
	f[len(f)-1] = byte(seq)
	return f
}

// run drives all queues until stop, and then until all is received, or patience ends.
func (m *manyQueues) run() {
	var end time.Time
	for !m.stop.Load() || m.missing() > 0 || m.to.missing() > 0 {
		if !m.stop.Load() {
			end = time.Now().Add(patience)
		} else if time.Now().After(end) {
			break // check says what is missing
		}
		moved := false
		for flow := range flowNum {
			moved = !m.stop.Load() && m.sendOne(flow) || moved
		}
		for q, rx := range m.g.Rx {
			moved = rx.Poll(64, m.take) > 0 || moved
			m.g.Tx[q].Settle()
			m.rest[q].Store(int64(m.g.Tx[q].Pending()))
		}
		select {
		case f := <-m.do:
			f()
		default:
			if !moved {
				runtime.Gosched()
			}
		}
	}
	close(m.do)
}

// missing is how many frames to m are under way: neither received nor dropped.
func (m *manyQueues) missing() uint64 {
	left := m.to.sent.Load() - m.got.Load()
	if left > 0 {
		left -= min(left, m.to.lost())
	}
	return left
}

// lost is how many of m's frames were dropped.
func (m *manyQueues) lost() (n uint64) {
	for r := range stats.DropReason(stats.NumDropReasons) {
		n += m.drops(r)
	}
	return n
}

func (m *manyQueues) sendOne(flow int) bool {
	q := flow % manyPairs
	if !m.on[q].Load() {
		q = 0
	}
	if m.sent.Load()-m.to.got.Load() >= manyOnTheWay && m.to.missing() >= manyOnTheWay {
		return false
	}
	f := flowFrame(m.id, m.to.id, flow, m.next[flow])
	if m.g.Tx[q].SendBurst([][]byte{f}, nil) == 0 {
		return false
	}
	m.next[flow]++
	m.sent.Add(1)
	return true
}

// take checks a frame: it is whole, and comes once.
func (m *manyQueues) take(_ guest.Hdr, f []byte) {
	if len(f) < 64 {
		m.errs = append(m.errs, fmt.Errorf("a frame of %d bytes", len(f)))
		return
	}
	flow, seq := int(binary.BigEndian.Uint16(f[34:]))-1000, binary.BigEndian.Uint32(f[60:])
	if flow < 0 || flow >= flowNum || string(f) != string(flowFrame(m.to.id, m.id, flow, seq)) || m.seen[flow][seq] {
		m.errs = append(m.errs, fmt.Errorf("flow %d frame %d: %.80x, seen %v", flow, seq, f, flow >= 0 && flow < flowNum && m.seen[flow][seq]))
		return
	}
	m.seen[flow][seq] = true
	m.got.Add(1)
}

// set turns pair q on or off, as a driver does that a user tells the number of queues: it
// sends no more by a queue that goes off, and takes what comes.
func (m *manyQueues) set(q int, on bool) {
	m.h.t.Helper()
	if !on {
		m.on[q].Store(false)
		m.inDriver(func() {}) // it has seen that
		m.h.until("the queue is empty", func() bool { return m.rest[q].Load() == 0 })
	}
	m.h.ok(m.g.Enable(2*q, on))
	m.h.ok(m.g.Enable(2*q+1, on))
	m.on[q].Store(on)
}

// inDriver has the driver do f.
func (m *manyQueues) inDriver(f func()) {
	done := make(chan struct{})
	m.do <- func() { f(); close(done) }
	<-done
}

// more waits until num more frames have arrived at m.
func (m *manyQueues) more(num uint64) {
	m.h.t.Helper()
	from := m.got.Load()
	m.h.until(fmt.Sprintf("%d more frames at vm%d", num, m.id), func() bool { return m.got.Load() >= from+num })
}

// manyRig is two such VMs on a host with two workers, under traffic in both directions.
// The test's end waits for all frames and checks the books.
func manyRig(t *testing.T, packed bool, protocol uint64) (a, b *manyQueues) {
	t.Helper()
	newHost(t)
	h := buildParked(t, 2)
	t.Cleanup(h.close)
	h.pool.Start()
	cfg := guest.Config{Features: base | proto.FeatureMQ, Protocol: protocol, QueuePairs: manyPairs, RingSize: ringSize}
	if packed {
		cfg.Features |= proto.FeatureRingPacked
	}
	var stop atomic.Bool
	var both [2]*manyQueues
	for i := range both {
		both[i] = &manyQueues{vm: h.vm(i+1, cfg), do: make(chan func()), stop: &stop}
		for flow := range flowNum {
			both[i].seen[flow] = map[uint32]bool{}
		}
		for q := range manyPairs {
			both[i].on[q].Store(true)
		}
	}
	a, b = both[0], both[1]
	a.to, b.to = b, a
	var wg sync.WaitGroup
	for _, m := range both {
		wg.Go(m.run)
	}
	t.Cleanup(func() {
		stop.Store(true)
		wg.Wait()
		for _, m := range both {
			m.check()
		}
	})
	return a, b
}

// check looks at the books of m when all is at rest.
func (m *manyQueues) check() {
	t := m.h.t
	for _, err := range m.errs[:min(len(m.errs), 5)] {
		t.Errorf("vm%d: %v", m.id, err)
	}
	if sent, got, lost := m.to.sent.Load(), m.got.Load(), m.to.lost(); sent != got+lost {
		t.Errorf("vm%d: %d sent, %d received, %d dropped", m.id, sent, got, lost)
	}
	m.whole()
	for _, r := range m.dev.Snapshot().Rings {
		if r.Totals.Packets == 0 || r.Totals.Discarded != 0 {
			t.Errorf("vm%d ring %d: %d frames, %d discarded", m.id, r.Index, r.Totals.Packets, r.Totals.Discarded)
		}
	}
}

// spread checks that both workers poll queues of every port and work.
func (h *host) spread() {
	h.t.Helper()
	for _, p := range h.pool.Ports() {
		if on := slices.Compact(slices.Sorted(slices.Values(p.Workers))); len(on) != 2 {
			h.t.Errorf("%s: its queues are polled by workers %v", p.Name, p.Workers)
		}
	}
	for _, w := range h.pool.Workers() {
		if w.Packets == 0 {
			h.t.Errorf("worker %d: %+v", w.ID, w)
		}
	}
}

// eachFormat runs f for split and packed rings.
func eachFormat(t *testing.T, f func(t *testing.T, packed bool)) {
	for _, packed := range []bool{false, true} {
		t.Run(map[bool]string{false: "split", true: "packed"}[packed], func(t *testing.T) { f(t, packed) })
	}
}

// TestEightQueuePairs: eight pairs of each of two VMs over two workers, traffic on all of
// them in both directions, while pairs go off and come back in any order.
func TestEightQueuePairs(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		a, b := manyRig(t, packed, 0)
		a.more(2000)
		b.more(2000)
		a.h.spread()
		if n := a.lost() + b.lost(); n != 0 {
			t.Errorf("%d dropped while nothing changed", n)
		}
		r := rand.New(rand.NewPCG(1, 2)) // always the same: the interleaving is what varies
		const laps = 30
		for range laps {
			m := []*manyQueues{a, b}[r.IntN(2)]
			q := 1 + r.IntN(manyPairs-1)
			m.set(q, !m.on[q].Load())
			m.to.more(50)
		}
		// A worker that has chosen a queue when it goes off may drop the burst for it.
		if n := a.lost() + b.lost(); n > laps*32 {
			t.Errorf("%d dropped by %d changes", n, laps)
		}
		for _, m := range []*manyQueues{a, b} {
			for q := range manyPairs {
				m.set(q, true)
			}
		}
		before := a.lost() + b.lost()
		a.more(2000)
		b.more(2000)
		if n := a.lost() + b.lost() - before; n != 0 {
			t.Errorf("%d dropped when all were on again", n)
		}
	})
}

// TestHotPlugUnderTraffic moves the buffers of all queues of a VM into memory that is
// plugged in, and back, while all of them carry traffic in both directions; then the
// memory goes. Nothing is lost. Split rings by new tables, packed ones by slots.
func TestHotPlugUnderTraffic(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		protocol := guest.DefaultProtocolFeatures
		if packed {
			protocol |= proto.ProtocolConfigureMemSlots
		}
		a, b := manyRig(t, packed, protocol)
		for range 2 {
			a.more(500)
			size := 0
			for q := range manyPairs {
				size += a.g.Rx[q].BufferBytes() + a.g.Tx[q].BufferBytes()
			}
			m, err := a.g.AddMemory(size)
			a.h.ok(err)
			a.more(500)
			b.more(500)
			a.moveAll(m)
			a.more(500)
			b.more(500)
			a.moveAll(nil)
			a.h.ok(a.g.RemoveMemory(m))
		}
		a.more(500)
		b.more(500)
		if n := a.lost() + b.lost(); n != 0 {
			t.Errorf("%d dropped", n)
		}
	})
}

// moveAll moves the buffers of all queues to mem, or back to where they were, and waits
// until none is left behind.
func (m *manyQueues) moveAll(mem *guest.Memory) {
	m.h.t.Helper()
	m.inDriver(func() {
		off := 0
		for q := range manyPairs {
			m.h.ok(m.g.Rx[q].MoveBuffers(mem, off))
			off += m.g.Rx[q].BufferBytes()
			m.h.ok(m.g.Tx[q].MoveBuffers(mem, off))
			off += m.g.Tx[q].BufferBytes()
		}
	})
	m.h.until("all buffers have moved", func() (all bool) {
		m.inDriver(func() {
			all = true
			for q := range manyPairs {
				all = all && m.g.Rx[q].Moved() && m.g.Tx[q].Moved()
			}
		})
		return all
	})
}
