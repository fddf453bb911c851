package ring_test

import (
	"strings"
	"testing"

	"baton/dataplane/buf"
	"baton/nic/dpdk/internal/ealtest"
	"baton/nic/dpdk/mempool"
	"baton/nic/dpdk/ring"
)

func setup(t *testing.T, size int) (*ring.Ring, *mempool.Pool) {
	t.Helper()
	p, err := mempool.CreateMbufPool("ring", mempool.Options{Num: 1024, Cache: -1})
	if err != nil {
		t.Fatal(err)
	}
	r, err := ring.Create("r", size)
	if err != nil {
		t.Fatal(err)
	}
	return r, p
}

func TestOrderAndLimits(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		r, p := setup(t, 50)
		var in, out buf.Vec
		if !p.Get(in[:]) || r.Capacity() != 50 {
			t.Fatalf("capacity %d", r.Capacity())
		}
		if got := r.ScDequeueBurst(&out, buf.Burst); got != 0 {
			t.Errorf("%d out of an empty ring", got)
		}
		if a, b := r.SpEnqueueBurst(&in, 32), r.SpEnqueueBurst(&in, 32); a != 32 || b != 18 || r.Count() != 50 {
			t.Errorf("took %d and %d, holds %d; want 32, 18, 50", a, b, r.Count())
		}
		if got := r.ScDequeueBurst(&out, 32); got != 32 || out != in {
			t.Errorf("%d out, in order %v", got, out == in)
		}
		out = buf.Vec{}
		if got := r.ScDequeueBurst(&out, 32); got != 18 || out[17] != in[17] || out[18] != nil {
			t.Errorf("%d out", got)
		}
		p.Put(in[:])
		if err := r.Free(); err != nil {
			t.Error(err)
		}
		if err := p.Free(); err != nil {
			t.Error(err)
		}
	})
}

func TestTwoGoroutines(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		const num = 20000
		r, p := setup(t, 128)
		go func() {
			c := buf.NewCache(p)
			defer c.Flush()
			for sent := 0; sent < num; {
				var v buf.Vec
				b := c.Alloc()
				if b == nil {
					continue
				}
				b.RSSHash = uint32(sent)
				v[0] = b
				for r.SpEnqueueBurst(&v, 1) == 0 {
				}
				sent++
			}
		}()
		c := buf.NewCache(p)
		for got := 0; got < num; {
			var v buf.Vec
			n := r.ScDequeueBurst(&v, buf.Burst)
			for _, b := range v[:n] {
				if b.RSSHash != uint32(got) {
					t.Fatalf("got %d, want %d", b.RSSHash, got)
				}
				got++
			}
			c.FreeAll(&v, n)
			c.Flush()
		}
	})
}

func TestAllocs(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		r, p := setup(t, 64)
		var v buf.Vec
		p.Get(v[:])
		if n := testing.AllocsPerRun(1000, func() { r.SpEnqueueBurst(&v, 32); r.ScDequeueBurst(&v, 32) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestErrors(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		setup(t, 8)
		for _, tt := range []struct {
			name string
			size int
			text string
		}{{"", 8, "1 to 28"}, {"x", 0, "size 0"}, {"r", 8, "exists"}, {"huge", 1 << 28, "memory"}} {
			if _, err := ring.Create(tt.name, tt.size); err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%q %d: %v, want %q", tt.name, tt.size, err, tt.text)
			}
		}
	})
}
