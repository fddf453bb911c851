package dpdk_test

import (
	"os"
	"testing"

	"baton/dataplane/buf"
	"baton/nic/dpdk"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/ethdev"
	"baton/nic/dpdk/mempool"
)

// benchEAL starts DPDK in the benchmark's own process; benchmarks run last.
func benchEAL(b *testing.B) {
	b.Helper()
	if _, running := eal.Running(); running {
		return
	}
	if _, err := eal.Init(eal.Options{MemoryMiB: 64}); err != nil {
		b.Fatal(err)
	}
	if info, _ := eal.Running(); testing.Verbose() {
		os.Stderr.WriteString(info.Why + "\n")
	}
}

// BenchmarkBurst is 32 packets received from and 32 sent to net_null: with one C
// call and with two, with a pool cache of the queue's own and with the pool's ring.
func BenchmarkBurst(b *testing.B) {
	benchEAL(b)
	for _, bb := range []struct {
		name  string
		cache int
		fused bool
	}{{"fused/cache", mempool.DefaultCache, true}, {"two calls/cache", mempool.DefaultCache, false}, {"fused/ring", -1, true}, {"two calls/ring", -1, false}} {
		b.Run(bb.name, func(b *testing.B) {
			pool := mustPool(b, mempool.Options{Cache: bb.cache})
			mustOpen(b, dpdk.Config{Device: "net_null0", Pool: pool})
			dev, err := ethdev.GetPortByName("net_null0")
			if err != nil {
				b.Fatal(err)
			}
			lcore, err := eal.AllocLcore()
			if err != nil {
				b.Fatal(err)
			}
			burst, err := ethdev.NewBurst(dev, 0, lcore)
			if err != nil {
				b.Fatal(err)
			}
			v := new(buf.Vec)
			for b.Loop() {
				if bb.fused {
					burst.Poll()
				} else {
					burst.Flush()
					burst.Recv()
				}
				burst.Stage(v, 0, burst.Take(v))
			}
			if err := burst.Close(); err != nil {
				b.Error(err)
			}
			pool.FlushLcore(lcore)
			eal.FreeLcore(lcore)
		})
	}
}

// BenchmarkQueue is the same through port.Queue, as a worker calls it.
func BenchmarkQueue(b *testing.B) {
	benchEAL(b)
	pool := mustPool(b, mempool.Options{})
	q := mustOpen(b, dpdk.Config{Device: "net_null0", Pool: pool}).Queue(0)
	c := mustCache(b, pool)
	v := new(buf.Vec)
	for b.Loop() {
		q.Tx(c, v, q.Rx(c, v))
	}
}

// BenchmarkEmptyPoll is a poll that finds nothing.
func BenchmarkEmptyPoll(b *testing.B) {
	benchEAL(b)
	pool := mustPool(b, mempool.Options{})
	q := mustOpen(b, dpdk.Config{Device: "net_ring0", Pool: pool}).Queue(0)
	v := new(buf.Vec)
	for b.Loop() {
		q.Rx(nil, v)
	}
}

// BenchmarkPool is a bulk of 256 buffers taken from the pool and put back.
func BenchmarkPool(b *testing.B) {
	benchEAL(b)
	pool := mustPool(b, mempool.Options{})
	bufs := make([]*buf.Buf, 256)
	for b.Loop() {
		pool.Get(bufs)
		pool.Put(bufs)
	}
}
