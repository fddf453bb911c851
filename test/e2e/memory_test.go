package e2e_test

import (
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"baton/test/cluster"
)

// Without huge pages baton works too, says so, and has memory for as many
// buffers as are asked for.
func TestOrdinaryPages(t *testing.T) {
	c := newCluster(t)
	startController(t, c, network)
	plain := func(cfg cluster.HostConfig) *cluster.Host {
		cfg.More = []string{"memory: {huge_pages: never, buffers: 65536}"}
		return startHostAs(t, c, cfg)
	}
	h1, h2 := plain(host1()), plain(host2())
	must(t, c.WaitInStep("host1", "host2"))
	stats, err := h1.Stats()
	must(t, err)
	if !strings.Contains(stats.Memory, "ordinary pages") || stats.Buffers.Size != 65536 {
		t.Errorf("memory %q with %d buffers", stats.Memory, stats.Buffers.Size)
	}
	a, b := attachVM(t, c, h1, vm1), attachVM(t, c, h2, vm3)
	var frames [][]byte
	for i := range 100 {
		frames = append(frames, frameSpec{Src: vm1, Dst: vm3, Proto: layers.IPProtocolUDP, SrcPort: 1000, DstPort: 2000, ID: uint16(i), Len: 200}.Bytes())
	}
	a.send(t, frames...)
	b.expect(t, frames...)
}
