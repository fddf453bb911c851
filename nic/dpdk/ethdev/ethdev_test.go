package ethdev_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"baton/dataplane/buf"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/ethdev"
	"baton/nic/dpdk/internal/ealtest"
	"baton/nic/dpdk/mempool"

	"golang.org/x/sys/unix"
)

// setup is a started port of the device with one queue pair, and its Burst.
func setup(t *testing.T, device string) (ethdev.Port, *ethdev.Burst, *mempool.Pool) {
	t.Helper()
	pool, err := mempool.CreateMbufPool("p", mempool.Options{Num: 2048})
	if err != nil {
		t.Fatal(err)
	}
	if err := eal.HotplugAdd(device); err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(device, ",")
	p, err := ethdev.GetPortByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Configure(ethdev.Config{Queues: 1, RxDesc: 256, TxDesc: 256, MemPool: pool}); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	lcore, err := eal.AllocLcore()
	if err != nil {
		t.Fatal(err)
	}
	burst, err := ethdev.NewBurst(p, 0, lcore)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(burst.Close(), p.Stop(), p.Close(), eal.HotplugRemove(device))
		pool.FlushLcore(lcore)
		if err := errors.Join(err, pool.Free()); err != nil {
			t.Error(err)
		}
	})
	return p, burst, pool
}

func TestControl(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		if _, err := ethdev.GetPortByName("net_null0"); !errors.Is(err, unix.ENODEV) || ethdev.CountAvail() != 0 {
			t.Errorf("a device before it is there: %v", err)
		}
		p, _, _ := setup(t, "net_null0")
		if ethdev.CountAvail() != 1 {
			t.Errorf("%d devices", ethdev.CountAvail())
		}
		info, err := p.Info()
		if err != nil || info.Driver != "net_null" || info.MaxRxQueues < 1 || info.MaxRxPktLen < 1518 {
			t.Errorf("Info() = %+v, %v", info, err)
		}
		link, err := p.Link()
		if err != nil || !link.Up {
			t.Errorf("Link() = %+v, %v", link, err)
		}
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
		if err := p.SetMACAddr(mac); err != nil {
			t.Error(err)
		}
		if got, err := p.MACAddr(); err != nil || got.String() != mac.String() {
			t.Errorf("MACAddr() = %v, %v", got, err)
		}
		for _, bad := range []net.HardwareAddr{nil, {1, 2, 3, 4, 5, 6}, make(net.HardwareAddr, 8)} {
			if p.SetMACAddr(bad) == nil {
				t.Errorf("SetMACAddr(%v) succeeded", bad)
			}
			if p.AddMACAddr(bad) == nil || p.RemoveMACAddr(bad) == nil {
				t.Errorf("AddMACAddr(%v) or RemoveMACAddr succeeded", bad)
			}
		}
		if err := p.PromiscEnable(); err != nil { // net_null takes all there is
			t.Error(err)
		}
		if err := p.PromiscDisable(); !errors.Is(err, unix.ENOTSUP) || !strings.Contains(err.Error(), "promiscuous mode off") {
			t.Errorf("PromiscDisable() on net_null: %v", err)
		}
		if mtu, err := p.MTU(); err != nil || mtu != 1500 {
			t.Errorf("MTU() = %d, %v", mtu, err)
		}
		if err := p.SetMTU(10); err == nil {
			t.Error("SetMTU(10) succeeded")
		}
		if _, err := p.PacketSocket(0, 1); !errors.Is(err, unix.ENOTSUP) {
			t.Errorf("packet socket of net_null: %v", err)
		}
		if _, err := p.RxIntrFD(0); !errors.Is(err, unix.ENOTSUP) {
			t.Errorf("interrupt of net_null: %v", err)
		}
		if err := p.RxIntrEnable(0); err == nil {
			t.Error("RxIntrEnable on net_null succeeded")
		}
	})
}

// TestNoMACFilter: a driver that has no filter of addresses says so.
func TestNoMACFilter(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		p, _, _ := setup(t, "net_null0")
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 7}
		for _, err := range []error{p.AddMACAddr(mac), p.RemoveMACAddr(mac)} {
			if !errors.Is(err, eal.ErrNotSupported) || !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), mac.String()) {
				t.Errorf("net_null's filter: %v", err)
			}
		}
	})
}

// TestMACFilter: net_ring has a filter that is a list: one place, and no address of its
// own. The first that is added is its own from then on.
func TestMACFilter(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		p, _, _ := setup(t, "net_ring0")
		first, second := net.HardwareAddr{2, 0, 0, 0, 0, 7}, net.HardwareAddr{2, 0, 0, 0, 0, 8}
		for range 2 {
			if err := errors.Join(p.RemoveMACAddr(second), p.AddMACAddr(first)); err != nil {
				t.Error(err)
			}
		}
		if mac, err := p.MACAddr(); err != nil || mac.String() != first.String() {
			t.Errorf("MACAddr() = %v, %v", mac, err)
		}
		if err := p.AddMACAddr(second); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("a second address: %v", err)
		}
		if err := p.RemoveMACAddr(first); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("remove the device's own: %v", err)
		}
	})
}

func TestStats(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		p, burst, _ := setup(t, "net_null0,size=80")
		var v buf.Vec
		if n := burst.Poll(); n != buf.Burst || burst.Received() != n {
			t.Fatalf("Poll() = %d", n)
		}
		if burst.Stage(&v, 0, burst.Take(&v)); burst.Staged() != buf.Burst {
			t.Fatalf("%d staged", burst.Staged())
		}
		burst.Flush()
		st, err := p.Stats()
		if err != nil || burst.Staged() != 0 || st.RxPackets != 32 || st.TxPackets != 32 {
			t.Errorf("Stats() = %+v, %v", st, err)
		}
		if err := p.StatsReset(); err != nil {
			t.Error(err)
		}
		if st, err := p.Stats(); err != nil || st.RxPackets != 0 {
			t.Errorf("after reset: %+v, %v", st, err)
		}
	})
}

// What waits in a Burst is freed once, whichever way.
func TestBurstDrops(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		_, burst, pool := setup(t, "net_ring0")
		c := buf.NewCache(pool)
		defer c.Flush()
		var v buf.Vec
		for i := range v {
			v[i] = c.Alloc()
			v[i].RSSHash = uint32(i)
		}
		if a, b := burst.Stage(&v, 0, 3), burst.Stage(&v, 3, buf.Burst); a != 3 || b != 29 {
			t.Fatalf("staged %d and %d", a, b)
		}
		burst.Flush()
		for i := range 5 {
			v[i] = c.Alloc()
		}
		burst.Stage(&v, 0, 5)
		if n := burst.Recv(); n != buf.Burst {
			t.Fatalf("Recv() = %d", n)
		}
		if n := burst.DropStaged(); n != 5 || burst.Staged() != 0 || burst.Received() != buf.Burst {
			t.Errorf("dropped %d, %d staged, %d received", n, burst.Staged(), burst.Received())
		}
		if n := burst.Recv(); n != buf.Burst { // full: nothing more is received
			t.Errorf("Recv() = %d", n)
		}
		if n := burst.Take(&v); n != buf.Burst || v[31].RSSHash != 31 {
			t.Errorf("Take() = %d", n)
		}
		c.FreeAll(&v, buf.Burst)
	})
}

func TestAllocs(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		_, burst, _ := setup(t, "net_null0")
		v := new(buf.Vec)
		if n := testing.AllocsPerRun(1000, func() { burst.Poll(); burst.Stage(v, 0, burst.Take(v)); burst.Flush() }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
