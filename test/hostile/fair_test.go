package hostile_test

import (
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/vhost/guest"
	"baton/vhost/proto"
)

// superFrame is a TCP/IPv4 super-segment with n bytes of payload, and its header.
func superFrame(from, to, n int) ([]byte, guest.Hdr) {
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
		Flags: guest.HdrNeedsCsum, GSOType: guest.GSOTCPv4, HdrLen: 54, GSOSize: 100, CsumStart: 34, CsumOffset: 16,
	})
}

// TestFairness has one VM flood the worker on all queues, with small frames and with
// super-segments that must be cut into hundreds, while a pair with a modest rate loses
// nothing and gets on.
func TestFairness(t *testing.T) {
	attack(t, func(c *guest.Config) {
		c.Features |= tso | proto.FeatureMQ
		c.QueuePairs, c.TxBufSize, c.TxChain, c.TxPiece = 4, 40000, 11, 4096
	}, func(s *scene) {
		var stop atomic.Bool
		var wg sync.WaitGroup
		small := makeFrame(3, 3, 64)
		super, hdr := superFrame(3, 3, 30000)
		if s.packed { // to a VM that is not there: it costs a walk and no more
			small = makeFrame(3, 99, 64)
		}
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				for q, tx := range s.g.Tx {
					if (i+q)%4 == 0 {
						tx.SendBurst([][]byte{super}, []guest.Hdr{hdr})
					} else {
						tx.SendBurst([][]byte{small, small, small, small}, nil)
					}
					s.g.Rx[q].Discard(64)
				}
				runtime.Gosched()
			}
		})
		began := time.Now()
		s.pair.goesOn(20000)
		took := time.Since(began)
		stop.Store(true)
		wg.Wait()
		flood := uint64(0)
		for _, q := range s.g.Tx {
			flood += q.Counters.Packets
		}
		s.Logf("20000 frames of the pair beside %d of the flood, in %v", flood, took)
		if flood < 500 {
			s.Errorf("a flood of %d frames is none", flood)
		}
		s.whole()
	})
}
