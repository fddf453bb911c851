package buf_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
)

var _ buf.Source = (*buf.Pool)(nil)

func newPool(t testing.TB, num, room int) *buf.Pool {
	t.Helper()
	p, err := buf.NewPool(num, room)
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

// TestFrameEdits holds a buffer against a slice with free room at both ends.
func TestFrameEdits(t *testing.T) {
	p := newPool(t, 1, 512)
	one := make([]*buf.Buf, 1)
	rapid.Check(t, func(rt *rapid.T) {
		if !p.Get(one) {
			rt.Fatal("no buffer")
		}
		defer p.Put(one)
		b, head, twin := one[0], buf.Headroom, []byte{}
		b.Reset()
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			n := rapid.IntRange(0, 200).Draw(rt, "n")
			what := rapid.SampledFrom([]string{"prepend", "append", "trim", "truncate", "set"}).Draw(rt, "what")
			switch what {
			case "prepend":
				got, fits := b.Prepend(n), n <= head
				if (got != nil) != fits {
					rt.Fatalf("prepend %d with %d free: %v", n, head, got != nil)
				}
				if fits {
					fill(got, byte(n))
					twin, head = append(bytes.Repeat([]byte{byte(n)}, n), twin...), head-n
				}
			case "append":
				got, fits := b.Append(n), head+len(twin)+n <= 512
				if (got != nil) != fits {
					rt.Fatalf("append %d behind %d: %v", n, head+len(twin), got != nil)
				}
				if fits {
					fill(got, byte(n+1))
					twin = append(twin, bytes.Repeat([]byte{byte(n + 1)}, n)...)
				}
			case "trim":
				if ok := b.Trim(n); ok != (n <= len(twin)) {
					rt.Fatalf("trim %d of %d: %v", n, len(twin), ok)
				} else if ok {
					twin, head = twin[n:], head+n
				}
			case "truncate":
				n = min(n, len(twin))
				b.Truncate(n)
				twin = twin[:n]
			case "set":
				frame := bytes.Repeat([]byte{7}, 3*n)
				fits := len(frame) <= 512-buf.Headroom
				if b.SetFrame(frame) != fits {
					rt.Fatalf("set %d bytes: %v", len(frame), !fits)
				}
				head, twin = buf.Headroom, nil
				if fits {
					twin = frame
				}
			}
			if !bytes.Equal(b.Data(), twin) || b.Len() != len(twin) || b.Headroom() != head || b.Tailroom() != 512-head-len(twin) {
				rt.Fatalf("after %s %d: %d bytes with %d before and %d behind; want %d, %d", what, n, b.Len(), b.Headroom(), b.Tailroom(), len(twin), head)
			}
		}
	})
}

func fill(b []byte, v byte) {
	for i := range b {
		b[i] = v
	}
}

func TestPool(t *testing.T) {
	for _, c := range [][2]int{{0, 512}, {1, 63}, {1, 65536}} {
		if p, err := buf.NewPool(c[0], c[1]); err == nil || p != nil {
			t.Errorf("pool of %d buffers of %d bytes was made", c[0], c[1])
		}
	}
	p := newPool(t, 4, 200)
	bufs := make([]*buf.Buf, 4)
	if !p.Get(bufs) || p.Available() != 0 || p.Size() != 4 {
		t.Fatalf("%d of %d left", p.Available(), p.Size())
	}
	if p.Get(bufs[:1]) {
		t.Error("a fifth buffer of four")
	}
	if err := p.Close(); err == nil || !strings.Contains(err.Error(), "4 of 4 buffers") {
		t.Errorf("closed with buffers in use: %v", err)
	}
	for i, b := range bufs { // no two share memory
		fill(b.Append(b.Tailroom()), byte(i))
	}
	for i, b := range bufs {
		if want := bytes.Repeat([]byte{byte(i)}, 200-buf.Headroom); !bytes.Equal(b.Data(), want) {
			t.Errorf("buffer %d was written to by another", i)
		}
	}
	bufs[0].Link(bufs[0], bufs[1])
	p.Release(bufs[0])
	p.Put(bufs[2:])
	if p.Available() != 4 {
		t.Errorf("%d of 4 are back", p.Available())
	}
	defer func() {
		if recover() == nil {
			t.Error("a buffer was freed twice and nobody saw it")
		}
	}()
	p.Put(bufs[:1])
}

// TestCache: a worker's cache never has more than it may, loses none, and
// allocates nothing.
func TestCache(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := newPool(t, 1000, 64)
		c := buf.NewCache(p)
		var out []*buf.Buf
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			n := rapid.IntRange(0, 300).Draw(rt, "n")
			if rapid.Bool().Draw(rt, "alloc") {
				failed := c.Failed
				for range n {
					if b := c.Alloc(); b != nil {
						out = append(out, b)
					} else if p.Available() != 0 || c.Held() != 0 {
						rt.Fatalf("no buffer with %d in the pool and %d in the cache", p.Available(), c.Held())
					}
				}
				if len(out) < 1000 && c.Failed != failed {
					rt.Fatalf("failed with %d of 1000 in use", len(out))
				}
			} else {
				for range min(n, len(out)) {
					c.Free(out[len(out)-1])
					out = out[:len(out)-1]
				}
			}
			if c.Held() > 512 || len(out)+c.Held()+p.Available() != 1000 {
				rt.Fatalf("%d in use, %d cached, %d in the pool", len(out), c.Held(), p.Available())
			}
		}
		seen := map[*buf.Buf]bool{}
		for _, b := range out {
			if seen[b] {
				rt.Fatal("a buffer was given out twice")
			}
			seen[b] = true
			c.Free(b)
		}
		c.Free(nil)
		c.Flush()
		if p.Available() != 1000 {
			rt.Fatalf("%d of 1000 are back", p.Available())
		}
	})
}

func TestCacheAllocatesNothing(t *testing.T) {
	p := newPool(t, 2048, 64)
	c := buf.NewCache(p)
	var v buf.Vec
	n := testing.AllocsPerRun(100, func() {
		for range 20 {
			for i := range v {
				v[i] = c.Alloc()
			}
			c.FreeAll(&v, len(v))
		}
	})
	c.Flush()
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestForeignBuffers go to the source, which knows what they are.
func TestForeignBuffers(t *testing.T) {
	p, other := newPool(t, 2, 64), newPool(t, 1, 64)
	c, d := buf.NewCache(p), buf.NewCache(other)
	b := c.Alloc()
	b.OlFlags = 1 << 61 // external: what a pool's own buffers never are
	c.Free(b)
	if c.Held() != 0 || p.Available() != 2 {
		t.Errorf("%d in the pool, %d in the cache", p.Available(), c.Held())
	}
	foreign := d.Alloc()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a Pool took the buffer of another")
			}
		}()
		c.Free(foreign)
	}()
	d.Free(foreign)
	c.Flush()
	d.Flush()
}

func TestOffHeap(t *testing.T) {
	type thing struct {
		_ buf.Vec
		n [5000]uint64
	}
	p, err := buf.NewOffHeap[thing]()
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.n {
		if p.n[i] != 0 {
			t.Fatal("not zeroed")
		}
		p.n[i] = uint64(i)
	}
	if err := buf.FreeOffHeap(p); err != nil {
		t.Error(err)
	}
}
