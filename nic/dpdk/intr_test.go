package dpdk_test

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/nic/dpdk"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/internal/ealtest"
	"baton/nic/dpdk/mempool"

	"github.com/vishvananda/netlink"
)

// A driver with receive interrupts: DPDK's virtio_user, whose other side is
// DPDK's own vhost in the same process.
func TestInterruptWakes(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		sock := filepath.Join(t.TempDir(), "vhost.sock")
		far := mustOpen(t, dpdk.Config{Name: "far", Device: "net_vhost0,iface=" + sock, Pool: pool})
		near := mustOpen(t, dpdk.Config{Name: "near", Device: "net_virtio_user0,path=" + sock + ",queues=1", Pool: pool})
		eventually(t, "link up", func() bool { return far.Info().Up && near.Info().Up })
		c, out, in, w := mustCache(t, pool), far.Queue(0), near.Queue(0), newWaker(t)
		in.Attach(w)
		defer in.Attach(nil)
		var v buf.Vec
		for i := range 20 {
			if a := in.Arm(); a != port.ArmSet {
				t.Fatalf("Arm() = %v", a)
			}
			for w.wait(t, 0) { // an old edge
			}
			fill(t, c, &v, i, 1)
			if out.Tx(c, &v, 1) != 1 {
				t.Fatal("Tx")
			}
			out.(*dpdk.Queue).Flush()
			eventually(t, "an interrupt", func() bool { return w.wait(t, 10) })
			in.Disarm()
			if n := in.Rx(c, &v); n != 1 || !bytes.Equal(v[0].Data(), frame(i)) {
				t.Fatalf("%d packets", n)
			}
			c.FreeAll(&v, 1)
		}
	})
}

// Two ends of a memif in one process: frames are copied through shared memory.
func TestMemif(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		sock := ",socket-abstract=no,socket=" + filepath.Join(t.TempDir(), "memif.sock")
		a := mustOpen(t, dpdk.Config{Name: "a", Device: "net_memif0,role=server,id=1" + sock, Pool: pool})
		b := mustOpen(t, dpdk.Config{Name: "b", Device: "net_memif1,role=client,id=1" + sock, Pool: pool})
		eventually(t, "link up", func() bool { return a.Info().Up && b.Info().Up })
		c := mustCache(t, pool)
		for sent := 0; sent < 2000; sent += 20 {
			var v buf.Vec
			fill(t, c, &v, sent, 20)
			if a.Queue(0).Tx(c, &v, 20) != 20 {
				t.Fatal("Tx")
			}
			got := 0
			eventually(t, "all 20", func() bool {
				// The receiver gives the sender room when it polls.
				a.Queue(0).(*dpdk.Queue).Flush()
				n := b.Queue(0).Rx(c, &v)
				for i, m := range v[:n] {
					if !bytes.Equal(m.Data(), frame(sent+got+i)) {
						t.Fatalf("frame %d: %q", sent+got+i, m.Data())
					}
				}
				got += n
				c.FreeAll(&v, n)
				return got == 20
			})
		}
	})
}

// An MTU that is asked for, and an interface that goes away under the port.
func TestAFPacketInterface(t *testing.T) {
	ealtest.Run(t, ealtest.Case{
		Name: "veth", NewNet: true, Before: veth, Options: eal.Options{HugePages: eal.HugeOff, MemoryMiB: ealtest.MemoryMiB},
	}, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		for mtu, text := range map[int]string{1700: "ip link set left mtu 1700", 1590: "framesz"} {
			_, err := dpdk.Open(dpdk.Config{Name: "n", Device: "net_af_packet0,iface=left,framesz=1024,blocksz=4096", MTU: mtu, Pool: pool})
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("MTU %d: %v", mtu, err)
			}
		}
		p := mustOpen(t, dpdk.Config{Device: "net_af_packet0,iface=left", MTU: 1562, Pool: pool})
		if got := p.Info().MTU; got != 1562 {
			t.Errorf("MTU %d, want 1562", got)
		}
		c, q, far := mustCache(t, pool), p.Queue(0), newPeer(t, "right")
		big := append(frame(0)[:60:60], make([]byte, 1516)...)
		far.send(t, big)
		var v buf.Vec
		eventually(t, "the frame", func() bool { return q.Rx(c, &v) == 1 })
		if !bytes.Equal(v[0].Data(), big) {
			t.Errorf("%d bytes of %d", v[0].Len(), len(big))
		}
		c.Free(v[0])
		link, err := netlink.LinkByName("left")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkDel(link); err != nil {
			t.Fatal(err)
		}
		if _, err := net.InterfaceByName("left"); err == nil || p.Info().Up {
			t.Errorf("the interface is gone (%v), the port is up: %v", err, p.Info().Up)
		}
	})
}
