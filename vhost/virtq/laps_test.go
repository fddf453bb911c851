package virtq_test

import (
	"sync/atomic"
	"testing"

	"baton/dataplane/buf"
	"baton/vhost/guestmem"
	"baton/vhost/virtq"
)

// 17: a driver that makes every slot available in each lap in turn, while the device reads
// a burst that is longer than the ring: a burst has no slot twice.
func TestHostile17_LapsInABurst(t *testing.T) {
	const num = 3
	g := newPackedRig(t, num, nil)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			flags := availBit
			if i/num%2 == 1 {
				flags = usedBit
			}
			g.pack.Raw(i%num, guestmem.Desc{Addr: at(dataOff), Len: 100, Flags: flags, Next: uint16(i % num)})
		}
	}()
	var v buf.Vec
	for range 3000000 {
		n := g.q.Dequeue(g.cache, &v)
		g.cache.FreeAll(&v, n)
		if at := g.q.State() & 0x7fff; n > num || at >= num || g.q.Broken() != virtq.ReasonNone {
			t.Errorf("%d frames of a ring of %d; goes on at slot %d; %v", n, num, at, g.q.Broken())
			break
		}
	}
	stop.Store(true)
	<-done
}
