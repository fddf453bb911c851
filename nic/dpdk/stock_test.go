package dpdk_test

import (
	"testing"

	"baton/dataplane/buf"
	"baton/nic/dpdk"
	"baton/nic/dpdk/internal/ealtest"
	"baton/nic/dpdk/mempool"
)

// TestStock: what the driver frees is what the worker takes next, and what the worker frees
// is there for the driver: few buffers carry many packets, in either direction.
func TestStock(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		const bursts = 1000
		for name, device := range map[string]string{"to the wire": "net_null0,no-rx=1", "from the wire": "net_null1"} {
			q := mustOpen(t, dpdk.Config{Name: name, Device: device, Pool: pool}).Queue(0)
			c := buf.NewCache(pool)
			seen := map[*buf.Buf]bool{}
			var v buf.Vec
			for range bursts {
				n := buf.Burst
				if name == "to the wire" {
					if c.AllocBurst(&v, n) != n || q.Tx(c, &v, n) != n {
						t.Fatalf("%s: no buffers, or not taken", name)
					}
				}
				for _, b := range v[:n] {
					seen[b] = true
				}
				if got := q.Rx(c, &v); name == "from the wire" {
					c.FreeAll(&v, got)
				}
			}
			delete(seen, nil)
			if len(seen) > 1024 {
				t.Errorf("%s: %d bursts used %d buffers", name, bursts, len(seen))
			}
			c.Flush()
		}
	})
}
