package e2e_test

import (
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"baton/test/cluster"
	"baton/test/lab"
	"baton/vhost/guest"
)

// An underlay of 9000 bytes carries guests' frames of 8938: buffers, rings and
// NIC are sized by underlay.mtu.
func TestJumbo(t *testing.T) {
	const mtu = 9000
	c, err := cluster.New(lab.ForTest(t), cluster.Options{Bin: binDir(t), MTU: mtu})
	must(t, err)
	startController(t, c, strings.ReplaceAll(network, "mtu: 1600", "mtu: 9000"))
	jumbo := func(cfg cluster.HostConfig) *cluster.Host {
		// The driver's own frames must hold it too: 9000, Ethernet, and 66 bytes of the kernel's; seven to a block.
		cfg.More = append(cfg.More, `underlay: {device: "net_af_packet0,iface=eth0,blocksz=65536,framesz=9088,framecnt=252", address: `+cfg.Underlay.String()+`, mtu: 9000}`)
		return startHost(t, c, cfg)
	}
	h1, h2 := jumbo(host1()), jumbo(host2())
	must(t, c.WaitInStep("host1", "host2"))
	large := func(cfg *guest.Config) { cfg.BufSize = 1 << 14 }
	a, b := attachVM(t, c, h1, vm1, large), attachVM(t, c, h2, vm3, large)

	var frames [][]byte
	for i, n := range []int{60, 1514, 2048, 4000, mtu - 62 + 14} {
		frames = append(frames, frameSpec{Src: vm1, Dst: vm3, Proto: layers.IPProtocolUDP, SrcPort: 1000, DstPort: 2000, ID: uint16(i), Len: n}.Bytes())
	}
	a.send(t, frames...)
	b.expect(t, frames...)

	tooBig := frameSpec{Src: vm1, Dst: vm3, Proto: layers.IPProtocolUDP, SrcPort: 1000, DstPort: 2000, Len: mtu - 62 + 15}.Bytes()
	a.send(t, tooBig)
	waitDrops(t, c, h1, "too_big", 1)
	b.expectNothing(t)
}
