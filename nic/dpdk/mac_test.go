package dpdk_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"baton/dataplane/buf"
	"baton/nic/dpdk"
	"baton/nic/dpdk/internal/ealtest"
	"baton/nic/dpdk/mempool"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// further is an address of no device.
var further = net.HardwareAddr{2, 0, 0, 0, 0, 0xee}

// isPromisc says whether the kernel's interface is promiscuous.
func isPromisc(t *testing.T, iface string) bool {
	t.Helper()
	link, err := netlink.LinkByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	return link.Attrs().RawFlags&unix.IFF_PROMISC != 0
}

// mustTake sends a frame for mac through from and waits until p gives it.
func mustTake(t *testing.T, p *dpdk.Port, pool *mempool.Pool, from *peer, mac net.HardwareAddr) {
	t.Helper()
	f := frame(1)
	copy(f, mac)
	from.send(t, f)
	c, q := mustCache(t, pool), p.Queue(0)
	eventually(t, "a frame for "+mac.String(), func() (found bool) {
		var v buf.Vec
		n := q.Rx(c, &v)
		for _, b := range v[:n] {
			found = found || string(b.Data()) == string(f)
		}
		c.FreeAll(&v, n)
		return found
	})
}

// checkUnfiltered has a device without a filter, whose interface is iface, take
// frames for a further address and give it up.
func checkUnfiltered(t *testing.T, p *dpdk.Port, pool *mempool.Pool, iface string, from *peer) {
	t.Helper()
	for range 2 {
		if err := p.AddMAC(further); err != nil {
			t.Fatal(err)
		}
		if !isPromisc(t, iface) {
			t.Error("not promiscuous with a further address")
		}
		mustTake(t, p, pool, from, further)
	}
	for range 2 {
		if err := p.RemoveMAC(further); err != nil {
			t.Error(err)
		}
		if isPromisc(t, iface) {
			t.Error("promiscuous without a further address")
		}
	}
}

func TestAddMAC_AFPacket(t *testing.T) {
	onVeth(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_af_packet0,iface=left", Pool: pool})
		checkUnfiltered(t, p, pool, "left", newPeer(t, "right"))
	})
}

func TestAddMAC_Tap(t *testing.T) {
	needTap(t)
	ealtest.Run(t, tapCase, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_tap0,iface=bt0", Pool: pool})
		checkUnfiltered(t, p, pool, "bt0", newPeer(t, "bt0"))
	})
}

// TestAddMAC_Promisc: what the configuration asked for stays.
func TestAddMAC_Promisc(t *testing.T) {
	onVeth(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_af_packet0,iface=left", Promisc: true, Pool: pool})
		for _, fn := range []func(net.HardwareAddr) error{p.RemoveMAC, p.AddMAC, p.RemoveMAC} {
			if err := fn(further); err != nil || !isPromisc(t, "left") {
				t.Errorf("promiscuous %v, %v", isPromisc(t, "left"), err)
			}
		}
	})
}

func TestAddMAC_Errors(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		p := mustOpen(t, dpdk.Config{Device: "net_null0", Pool: mustPool(t, mempool.Options{})})
		own := p.MAC()
		if own.String() != p.Info().MAC.String() {
			t.Errorf("MAC() = %v", own)
		}
		if err := errors.Join(p.AddMAC(own), p.AddMAC(further), p.RemoveMAC(further)); err != nil { // takes all there is
			t.Error(err)
		}
		if err := p.RemoveMAC(own); err == nil || !strings.Contains(err.Error(), own.String()) || !strings.Contains(err.Error(), "net_null0") {
			t.Errorf("the device's own address: %v", err)
		}
		group := net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}
		if p.AddMAC(group) == nil || p.RemoveMAC(group) == nil || p.AddMAC(nil) == nil {
			t.Error("no unicast address, no error")
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if err := p.AddMAC(further); !errors.Is(err, dpdk.ErrClosed) {
			t.Errorf("AddMAC after Close: %v", err)
		}
		if err := p.RemoveMAC(further); !errors.Is(err, dpdk.ErrClosed) || p.MAC() != nil {
			t.Errorf("RemoveMAC after Close: %v, MAC %v", err, p.MAC())
		}
	})
}
