package mempool_test

import (
	"testing"

	"baton/dataplane/buf"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/internal/ealtest"
	"baton/nic/dpdk/mempool"
)

// TestStock: what a driver frees is what the worker takes next, and what the worker frees
// is there for the driver; no buffer is lost on the way.
func TestStock(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		p, err := mempool.CreateMbufPool("stock", mempool.Options{Num: 4096})
		if err != nil {
			t.Fatal(err)
		}
		id, err := eal.AllocLcore()
		if err != nil {
			t.Fatal(err)
		}
		s, driver, w := p.Stock(id), p.Share(id), buf.NewCache(p)
		var burst buf.Vec
		seen := map[*buf.Buf]bool{}
		for range 1000 { // to the wire: the worker takes, the driver frees
			if w.AllocBurst(&burst, buf.Burst) != buf.Burst {
				t.Fatal("no buffers")
			}
			for _, b := range burst {
				seen[b] = true
			}
			driver.Put(burst[:])
			s.Even(w)
		}
		if len(seen) > 1024 {
			t.Errorf("32000 packets to the wire used %d buffers", len(seen))
		}
		clear(seen)
		for range 1000 { // from the wire: the driver takes, the worker frees
			if !driver.Get(burst[:]) {
				t.Fatal("no buffers")
			}
			for _, b := range burst {
				seen[b] = true
			}
			w.FreeAll(&burst, buf.Burst)
			s.Even(w)
		}
		if len(seen) > 1024 {
			t.Errorf("32000 packets from the wire used %d buffers", len(seen))
		}
		if p.Stock(eal.NoLcore) != nil {
			t.Error("no lcore has a stock")
		}
		w.Flush()
		p.FlushLcore(id)
		eal.FreeLcore(id)
		if err := p.Free(); err != nil {
			t.Error(err)
		}
	})
}
