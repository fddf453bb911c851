package hostile_test

import (
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/stats"
	"baton/vhost/guest"
	"baton/vhost/proto"
	"baton/vhost/virtq"
)

// superFrame is a TCP/IPv4 super-segment with n bytes of payload, and its header, which
// wants segments of size.
func superFrame(from, to, n, size int) ([]byte, guest.Hdr) {
	f := makeFrame(from, to, 54+n)
	clear(f[14:54])
	f[12], f[13] = 0x08, 0x00
	f[14], f[22], f[23] = 0x45, 64, 6
	binary.BigEndian.PutUint16(f[16:], uint16(40+n))
	copy(f[26:], []byte{10, 0, 0, byte(from), 10, 0, 0, byte(to)})
	sum := uint32(0)
	for i := 14; i < 34; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	binary.BigEndian.PutUint16(f[24:], ^uint16(sum>>16+sum))
	binary.BigEndian.PutUint16(f[34:], 1000)
	binary.BigEndian.PutUint16(f[36:], 2000)
	f[46], f[47] = 5<<4, 0x10
	return f, guest.MakeHdr(guest.HdrFields{
		Flags: guest.HdrNeedsCsum, GSOType: guest.GSOTCPv4, HdrLen: 54, GSOSize: uint16(size), CsumStart: 34, CsumOffset: 16,
	})
}

// flooder is a guest that can send super-segments on four queues.
func flooder(c *guest.Config) {
	c.Features |= tso | proto.FeatureMQ
	c.QueuePairs, c.TxBufSize, c.TxChain, c.TxPiece = 4, 40000, 11, 4096
}

// TestFairness has one VM flood the worker on all queues, with small frames and with
// super-segments that must be cut into as many as there may be, to itself and to another VM that takes
// nothing, while a pair with a modest rate loses nothing and gets on.
func TestFairness(t *testing.T) {
	attack(t, flooder, func(s *scene) {
		idle := s.h.vm(4, guest.Config{Features: base, RingSize: ringSize})
		var stop atomic.Bool
		var wg sync.WaitGroup
		small := [][]byte{makeFrame(3, 3, 64), makeFrame(3, 4, 64), makeFrame(3, 3, 64), makeFrame(3, 4, 64)}
		super, hdr := superFrame(3, 3, 30000, 30000/virtq.MaxSegments+1)
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				for q, tx := range s.g.Tx {
					if (i+q)%4 == 0 {
						tx.SendBurst([][]byte{super}, []guest.Hdr{hdr})
					} else {
						tx.SendBurst(small, nil)
					}
					s.g.Rx[q].Discard(64)
				}
				runtime.Gosched()
			}
		})
		flood := func() bool {
			for q := range s.g.Tx {
				if n := s.totals(2*q + 1); n.Packets < 500 || n.GSO == 0 {
					return false
				}
			}
			return true
		}
		s.pair.goesOn(20000)
		for range 100 { // on a busy machine the flooder may not have had its turns yet
			if flood() {
				break
			}
			s.pair.goesOn(2000)
		}
		stop.Store(true)
		wg.Wait()
		for q := range s.g.Tx {
			if n := s.totals(2*q + 1); n.Packets < 500 || n.GSO == 0 {
				s.Errorf("queue %d: a flood of %d frames, %d of them super-segments, is none", q, n.Packets, n.GSO)
			}
		}
		if n := s.drops(stats.DropTxFull); n == 0 {
			s.Error("the VM that takes nothing took all")
		}
		s.whole()
		idle.whole()
	})
}

// Of TestFairShare: the VMs' numbers, and super-segments.
const (
	good, sink, bad = 1, 2, 3

	superBytes = 3000 // of payload
	superSegs  = 30
	superNum   = 2 * buf.Burst // a queue
)

// shareHost is a host whose worker has not begun, with the three VMs, all rings full.
func shareHost(t *testing.T, packed, super bool) (h *host, v, f, to *vm) {
	t.Helper()
	newHost(t) // opens what a process keeps open
	h = buildParked(t, 1)
	t.Cleanup(h.close)
	cfg := guest.Config{RingSize: ringSize, TxBufSize: 4096, Features: base | proto.FeatureMQ | tso}
	if packed {
		cfg.Features |= proto.FeatureRingPacked
	}
	one := cfg
	cfg.QueuePairs = 4
	f = h.vm(bad, cfg) // first, so that it is looked at first
	v = h.vm(good, one)
	to = h.vm(sink, guest.Config{Features: base, RingSize: 8192})
	fill := func(tx *guest.TxQueue, num int, frame []byte, hdrs ...guest.Hdr) {
		for range num {
			if tx.SendBurst([][]byte{frame}, hdrs) != 1 {
				t.Fatal("no room in the ring")
			}
		}
	}
	fill(v.g.Tx[0], ringSize, makeFrame(good, sink, 64), guest.Hdr{})
	for q, tx := range f.g.Tx {
		frame, num, hdr := makeFrame(bad, sink, 64), ringSize, guest.Hdr{}
		if super {
			frame, hdr = superFrame(bad, sink, superBytes, superBytes/superSegs)
			num = superNum
		}
		frame[34] = byte(q) // of super-segments a part of the source port
		fill(tx, num, frame, hdr)
	}
	return h, v, f, to
}

// testShare lets the worker go and looks at the order in which the sink receives.
func testShare(t *testing.T, packed, super bool) {
	h, v, f, to := shareHost(t, packed, super)
	each, most := ringSize, 0
	if super {
		each = superNum * superSegs
		// One turn of so much cutting is worth more turns than the good VM needs.
		most = buf.Burst * superSegs
	}
	h.pool.Start()
	got, queues := 0, [4]int{}
	for total := 0; total < ringSize+4*each; {
		h.until("the next frames", func() bool { return to.g.Rx[0].Ready() })
		total += to.g.Rx[0].Poll(buf.Burst, func(_ guest.Hdr, b []byte) {
			if b[11] == good {
				got++
				return
			}
			q := b[34] % 4
			queues[q]++
			limit := most
			if !super { // burst for burst
				limit = got + buf.Burst
			}
			if got < ringSize && queues[q] > limit {
				t.Fatalf("queue %d of the flooder has had %d frames sent, the good VM %d: more than its share of %d", q, queues[q], got, limit)
			}
		})
	}
	if n := v.drops(stats.DropTxFull) + f.drops(stats.DropTxFull); got != ringSize || n != 0 {
		t.Errorf("%d frames of the good VM, %d found no room", got, n)
	}
	for _, m := range []*vm{v, f, to} {
		m.whole()
	}
}

// TestFairShare counts who gets how much of one worker, in turns of its poll loop: all
// rings are full before it begins, and the order in which a third VM receives is the
// order of service. Time has no part in it.
//
//	good VM, one queue, full      --.
//	flooder, four queues, full    --+--> worker --> sink, with room for all
func TestFairShare(t *testing.T) {
	for _, format := range []string{"split", "packed"} {
		for _, kind := range []string{"small", "super"} {
			t.Run(format+"/"+kind, func(t *testing.T) { testShare(t, format == "packed", kind == "super") })
		}
	}
}
