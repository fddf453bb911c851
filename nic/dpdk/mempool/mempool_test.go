package mempool_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"baton/dataplane/buf"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/internal/ealtest"
	"baton/nic/dpdk/mbuf"
	"baton/nic/dpdk/mempool"
)

func mustPool(t *testing.T, opts mempool.Options) *mempool.Pool {
	t.Helper()
	p, err := mempool.CreateMbufPool("test", opts)
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

func TestGetPut(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		p := mustPool(t, mempool.Options{Num: 1023})
		if p.Size() != 1023 || p.Available() != 1023 || p.Identity() == 0 {
			t.Fatalf("size %d, available %d", p.Size(), p.Available())
		}
		all := make([]*buf.Buf, 1023)
		if !p.Get(all) {
			t.Fatal("Get of all buffers failed")
		}
		seen := map[*buf.Buf]bool{}
		for _, b := range all {
			if seen[b] || b.RefCnt != 1 || b.NbSegs != 1 || b.Len() != 0 || b.Headroom() != buf.Headroom ||
				int(b.BufLen) != buf.DefaultDataRoom || uintptr(b.Pool) != p.Identity() || b.Next != nil {
				t.Fatalf("not a fresh buffer: %+v", b)
			}
			seen[b] = true
			if !b.SetFrame(make([]byte, 2048)) {
				t.Fatal("a frame of 2048 bytes does not fit")
			}
			if err := mbuf.Check(b); err != nil {
				t.Fatal(err)
			}
		}
		if p.Get(make([]*buf.Buf, 1)) || p.Available() != 0 {
			t.Error("Get from an empty pool")
		}
		p.Put(all[:1000])
		if p.Get(make([]*buf.Buf, 1001)) || p.Available() != 1000 {
			t.Errorf("Get of too many: %d are available, want 1000: all or nothing", p.Available())
		}
		if err := p.Free(); !errors.Is(err, mempool.ErrInUse) || !strings.Contains(err.Error(), "23 of 1023") {
			t.Errorf("Free: %v", err)
		}
		p.Put(all[1000:])
	})
}

// A clone shares its bytes; both go back by Release.
func TestRelease(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		p := mustPool(t, mempool.Options{Num: 64, Cache: -1})
		c := buf.NewCache(p)
		b := c.Alloc()
		b.SetFrame([]byte("frame"))
		clone := mbuf.PktMbufClone(b)
		if clone == nil || string(clone.Data()) != "frame" || b.RefCnt != 2 {
			t.Fatalf("clone %+v of %+v", clone, b)
		}
		c.Free(b)
		c.Free(clone)
		c.Flush()
		if p.Available() != 64 {
			t.Errorf("%d of 64 buffers came back", p.Available())
		}
		b = c.Alloc()
		b.DataLen = 7 // not what PktLen says
		if err := mbuf.Check(b); !errors.Is(err, mbuf.ErrUnsound) {
			t.Errorf("Check of an unsound buffer: %v", err)
		}
		b.Reset()
		c.Free(b)
		c.Flush()
	})
}

// A chain goes back segment by segment, by the cache or, if a part is shared, by DPDK.
func TestReleaseChain(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		p := mustPool(t, mempool.Options{Num: 64, Cache: -1})
		c := buf.NewCache(p)
		chain := func() *buf.Buf {
			a, b, d := c.Alloc(), c.AllocSegment(), c.AllocSegment()
			for _, s := range []*buf.Buf{a, b, d} {
				s.Append(100)
			}
			a.Link(a, b)
			a.Link(b, d)
			if err := mbuf.Check(a); err != nil {
				t.Errorf("DPDK finds a chain unsound: %v", err)
			}
			return a
		}
		c.Free(chain())
		p.Release(chain())
		shared := chain()
		clone := mbuf.PktMbufClone(shared)
		c.Free(shared)
		c.Free(clone)
		c.Flush()
		if p.Available() != 64 {
			t.Errorf("%d of 64 buffers came back", p.Available())
		}
	})
}

// Many goroutines on threads that are no lcores share a pool.
func TestConcurrent(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		p := mustPool(t, mempool.Options{Num: 4096})
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				c := buf.NewCache(p)
				held := make([]*buf.Buf, 0, 600)
				for i := range 20000 {
					if b := c.Alloc(); b != nil {
						b.RSSHash = uint32(g)
						held = append(held, b)
					}
					if len(held) == cap(held) || i%7 == 0 {
						for _, b := range held {
							if b.RSSHash != uint32(g) {
								t.Errorf("goroutine %d has a buffer of %d", g, b.RSSHash)
							}
							c.Free(b)
						}
						held = held[:0]
					}
				}
				for _, b := range held {
					c.Free(b)
				}
				c.Flush()
			})
		}
		wg.Wait()
		if p.Available() != p.Size() {
			t.Errorf("%d of %d buffers came back", p.Available(), p.Size())
		}
	})
}

func TestAllocs(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		p := mustPool(t, mempool.Options{Num: 1024})
		bufs := make([]*buf.Buf, 256)
		if n := testing.AllocsPerRun(1000, func() { p.Get(bufs); p.Put(bufs) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestWrongOptions(t *testing.T) {
	if _, err := mempool.CreateMbufPool("p", mempool.Options{Num: 1024}); !errors.Is(err, eal.ErrNotInitialized) {
		t.Errorf("without EAL: %v", err)
	}
	ealtest.Each(t, func(t *testing.T) {
		mustPool(t, mempool.Options{Num: 1024})
		for _, tt := range []struct {
			name string
			opts mempool.Options
			text string
		}{
			{"", mempool.Options{Num: 1024}, "1 to 24"},
			{strings.Repeat("n", 25), mempool.Options{Num: 1024}, "1 to 24"},
			{"none", mempool.Options{}, "at least 1"},
			{"cache", mempool.Options{Num: 100}, "twice the cache"},
			{"room", mempool.Options{Num: 1024, DataRoom: 100}, "192 to 65535"},
			{"test", mempool.Options{Num: 1024}, "exists"},
		} {
			_, err := mempool.CreateMbufPool(tt.name, tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%q %+v: %v, want %q", tt.name, tt.opts, err, tt.text)
			}
		}
	})
}

func TestTooLittleMemory(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		_, err := mempool.CreateMbufPool("big", mempool.Options{Num: 1 << 20})
		if !errors.Is(err, eal.ErrMemory) || !strings.Contains(err.Error(), "DPDK has 64 MiB") {
			t.Errorf("a pool of 2 GiB in 64 MiB: %v", err)
		}
	})
}
