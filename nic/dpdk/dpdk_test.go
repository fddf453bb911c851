package dpdk_test

import (
	"fmt"
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/nic/dpdk"
	"baton/nic/dpdk/mempool"
)

const poolSize = 8192

func mustPool(t testing.TB, opts mempool.Options) *mempool.Pool {
	t.Helper()
	if opts.Num == 0 {
		opts.Num = poolSize
	}
	p, err := mempool.CreateMbufPool("packets", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Free(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func mustOpen(t testing.TB, cfg dpdk.Config) *dpdk.Port {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "underlay"
	}
	p, err := dpdk.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// mustCache is a cache that is empty at the end.
func mustCache(t testing.TB, p *mempool.Pool) *buf.Cache {
	t.Helper()
	c := buf.NewCache(p)
	t.Cleanup(c.Flush)
	return c
}

// frame is number i of a sequence of frames of different sizes.
func frame(i int) []byte {
	f := make([]byte, 60+i%1400)
	copy(f, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5")
	copy(f[14:], fmt.Sprintf("frame %d", i))
	return f
}

// fill puts frames first, first+1, ... into v.
func fill(t testing.TB, c *buf.Cache, v *buf.Vec, first, n int) {
	t.Helper()
	for i := range n {
		b := c.Alloc()
		if b == nil || !b.SetFrame(frame(first+i)) {
			t.Fatal("no buffer")
		}
		v[i] = b
	}
}

// eventually polls until done, which must come true.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after 10 s", what)
		}
	}
}
