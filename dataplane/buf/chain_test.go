package buf_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
)

// chain is data cut into segments at random places, empty ones among them, and the
// number of segments.
func chain(t *rapid.T, c *buf.Cache, data []byte) (*buf.Buf, int) {
	head := c.Alloc()
	last, num, at := head, 1, 0
	fits := min(len(data), head.Tailroom())
	if fits = rapid.IntRange(0, fits).Draw(t, "head"); fits > 0 {
		at = copy(head.Append(fits), data)
	}
	for at < len(data) {
		s := c.AllocSegment()
		n := rapid.IntRange(0, min(len(data)-at, s.Tailroom())).Draw(t, "segment")
		at += copy(s.Append(n), data[at:])
		if !head.Link(last, s) {
			t.Fatal("no room for a segment")
		}
		last, num = s, num+1
	}
	return head, num
}

// TestChain holds a chain against the bytes that it was made from, and counts
// every segment home.
func TestChain(t *testing.T) {
	const num = 200
	rapid.Check(t, func(rt *rapid.T) {
		p := newPool(t, num, 300)
		c := buf.NewCache(p)
		data := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(rt, "data")
		b, segs := chain(rt, c, data)
		if b.Len() != len(data) || int(b.NbSegs) != segs || b.Last().Next != nil {
			rt.Fatalf("%d bytes in %d segments, want %d in %d", b.Len(), b.NbSegs, len(data), segs)
		}
		at, size := rapid.IntRange(0, len(data)+9).Draw(rt, "at"), rapid.IntRange(0, 3100).Draw(rt, "size")
		want := data[min(at, len(data)):min(at+size, len(data))]
		got := make([]byte, size)
		if n := b.CopyOut(at, got); !bytes.Equal(got[:n], want) {
			rt.Fatalf("%d bytes from %d: got %d, want %d", size, at, n, len(want))
		}
		r, all := b.Reader(), []byte{}
		for len(all) < len(data) {
			if rapid.Bool().Draw(rt, "skip") {
				n := rapid.IntRange(0, 400).Draw(rt, "n")
				r.Skip(n)
				all = append(all, data[len(all):min(len(all)+n, len(data))]...)
				continue
			}
			part := make([]byte, rapid.IntRange(1, 400).Draw(rt, "n"))
			all = append(all, part[:r.Read(part)]...)
		}
		if !bytes.Equal(all, data) || r.Read(make([]byte, 1)) != 0 {
			rt.Fatal("read other bytes than were written")
		}
		if rapid.Bool().Draw(rt, "release") {
			p.Release(b)
		} else {
			c.Free(b)
			if n := c.Held() + p.Available(); n != num {
				rt.Fatalf("%d of %d buffers are free", n, num)
			}
		}
		c.Flush()
		if p.Available() != num {
			rt.Fatalf("%d of %d buffers are back", p.Available(), num)
		}
		bufs := make([]*buf.Buf, num)
		p.Get(bufs)
		for _, b := range bufs {
			if b.Next != nil || b.NbSegs != 1 {
				rt.Fatal("a buffer of the pool is chained")
			}
		}
		p.Put(bufs)
	})
}

// A chain's end may be shared or of another pool: the cache takes what is its own,
// the source gets the rest.
func TestFreeMixedChain(t *testing.T) {
	p := newPool(t, 3, 64)
	c := buf.NewCache(p)
	a, b, d := c.Alloc(), c.Alloc(), c.Alloc()
	a.Link(a, b)
	a.Link(b, d)
	b.OlFlags = 1 << 62 // indirect
	c.Free(a)
	if c.Held() != 1 || p.Available() != 2 {
		t.Errorf("%d in the cache, %d in the pool; want 1, 2", c.Held(), p.Available())
	}
	c.Flush()
}

// Chains cost no allocation, in or out.
func TestChainAllocatesNothing(t *testing.T) {
	p := newPool(t, 2048, 256)
	c := buf.NewCache(p)
	var dst [4000]byte
	n := testing.AllocsPerRun(100, func() {
		head := c.Alloc()
		head.Append(100)
		for last := head; head.NbSegs < 30; last = last.Next {
			s := c.AllocSegment()
			s.Append(256)
			head.Link(last, s)
		}
		if head.CopyOut(0, dst[:]) != len(dst) {
			t.Error("short")
		}
		c.Free(head)
	})
	c.Flush()
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
