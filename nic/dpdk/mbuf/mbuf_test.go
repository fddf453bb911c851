package mbuf_test

import (
	"errors"
	"testing"

	"baton/dataplane/buf"
	"baton/nic/dpdk/internal/ealtest"
	"baton/nic/dpdk/mbuf"
	"baton/nic/dpdk/mempool"
)

// What Go writes into the view, C understands, and the other way round.
func TestView(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		p, err := mempool.CreateMbufPool("p", mempool.Options{Num: 64, Cache: -1})
		if err != nil {
			t.Fatal(err)
		}
		bufs := make([]*buf.Buf, 2)
		if !p.Get(bufs) {
			t.Fatal("Get")
		}
		head, tail := bufs[0], bufs[1]
		head.SetFrame([]byte("head"))
		tail.SetFrame([]byte("tail!"))
		head.Next, head.NbSegs, head.PktLen = tail, 2, 9
		if err := mbuf.Check(head); err != nil {
			t.Errorf("a sound chain: %v", err)
		}
		clone := mbuf.PktMbufClone(head)
		if clone == nil || clone.NbSegs != 2 || clone.Len() != 9 || string(clone.Data()) != "head" || string(clone.Next.Data()) != "tail!" {
			t.Fatalf("C's copy of the chain: %+v", clone)
		}
		if head.RefCnt != 2 || tail.RefCnt != 2 || p.Available() != 60 {
			t.Errorf("references %d and %d, %d available", head.RefCnt, tail.RefCnt, p.Available())
		}
		mbuf.PktMbufFree(clone)
		if head.RefCnt != 1 || p.Available() != 62 {
			t.Errorf("after the copy is freed: %d references, %d available", head.RefCnt, p.Available())
		}
		head.PktLen = 8
		if err := mbuf.Check(head); !errors.Is(err, mbuf.ErrUnsound) {
			t.Errorf("a wrong length: %v", err)
		}
		head.PktLen = 9
		mbuf.PktMbufFree(head) // with its tail
		if err := p.Free(); err != nil {
			t.Error(err)
		}
	})
}
