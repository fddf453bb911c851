package mempool_test

import (
	"testing"

	"baton/dataplane/buf"
	"baton/nic/dpdk/mempool"
)

func TestMemoryNeed(t *testing.T) {
	for _, c := range []struct{ num, room, page, want int }{
		{1000, buf.DefaultDataRoom, 4096, 1000*4096 + 8<<10}, // one a page
		{1000, 9216, 4096, 1000*12288 + 8<<10},               // three pages each
		{840, buf.DefaultDataRoom, 2 << 20, 2<<20 + 8<<10},   // 840 of 2496 bytes fit
		{841, buf.DefaultDataRoom, 2 << 20, 2*(2<<20) + 8<<10},
	} {
		if got := mempool.MemoryNeed(c.num, c.room, c.page); got != c.want {
			t.Errorf("%d buffers of %d bytes in pages of %d: %d bytes, want %d", c.num, c.room, c.page, got, c.want)
		}
	}
}
