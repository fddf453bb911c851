// Package buftest makes buffers for tests, and sees to it that all come back.
//
// Callers: tests of any room.
package buftest

import (
	"testing"

	"baton/dataplane/buf"
)

// NewCache is a cache over a pool of num buffers of the default size, all of which
// must be back when the test ends.
func NewCache(t testing.TB, num int) *buf.Cache {
	t.Helper()
	p, err := buf.NewPool(num, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	c := buf.NewCache(p)
	t.Cleanup(func() {
		c.Flush()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Frame is a copy of the frame in b, which may be a chain.
func Frame(b *buf.Buf) []byte {
	f := make([]byte, b.Len())
	b.CopyOut(0, f)
	return f
}

// NewBuf is a buffer of a pool of its own, to which it goes back when the test ends.
func NewBuf(t testing.TB) *buf.Buf {
	t.Helper()
	c := NewCache(t, 1)
	b := c.Alloc()
	t.Cleanup(func() { c.Free(b) })
	return b
}
