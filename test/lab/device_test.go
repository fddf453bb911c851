package lab_test

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/test/lab"
	"baton/test/lab/guestwire"
)

// What tests of devices change in a running guest: offloads, memory, IPv6. There
// is no switch between the two guests that could be at fault.
func TestGuestDevice(t *testing.T) {
	l := lab.ForTest(t)
	cable := l.Path("cable")
	start := func(name, netdev string) *lab.Guest {
		g, err := l.StartGuest(lab.GuestConfig{
			Name: name, IPv6: true, HotplugMiB: 256,
			NICs: []lab.NIC{{Netdev: netdev + ",addr.type=unix,addr.path=" + cable}},
		})
		must(t, err)
		return g
	}
	a := start("vma", "stream,server=on")
	must(t, a.WaitSocketFile(cable, bootLimit))
	b := start("vmb", "stream,server=off")
	for i, g := range []*lab.Guest{a, b} {
		must(t, g.WaitReady(bootLimit))
		must(t, g.Configure(guestwire.NetArgs{Link: "eth0", Addr: fmt.Sprintf("10.0.0.%d/24", 1+i)}))
		must(t, g.Configure(guestwire.NetArgs{Link: "eth0", Addr: fmt.Sprintf("fd00::%d/64", 1+i)}))
	}
	t.Run("offloads", func(t *testing.T) { testOffloads(t, a) })
	t.Run("features", func(t *testing.T) {
		const version1 = 1 << 32
		if r, err := a.Link("eth0"); err != nil || r.Features&version1 == 0 {
			t.Fatalf("virtio features %#x, %v", r.Features, err)
		}
	})
	t.Run("plug memory", func(t *testing.T) { testPlugMemory(t, a) })
	t.Run("ipv6, two at a time", func(t *testing.T) {
		var wg sync.WaitGroup
		for _, dst := range []string{"fd00::2", "10.0.0.2"} {
			wg.Go(func() {
				tr, err := a.SendTCP(b, dst, 1<<20, 3, transferLimit)
				if err != nil || tr.Check(1<<20) != nil || tr.Sender.PathMTU != 1500 || tr.Mbits() <= 0 {
					t.Errorf("%s: %+v, %v", dst, tr, err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("counters", func(t *testing.T) {
		r, err := a.Counters()
		must(t, err)
		if _, ok := r["TcpInCsumErrors"]; !ok || r["TcpOutSegs"] == 0 || r["TcpExtTCPPureAcks"] == 0 {
			t.Fatalf("%v", r)
		}
	})
	t.Run("health", func(t *testing.T) {
		must(t, a.CheckHealth())
		_, err := a.Exec(5*time.Second, "sh", "-c", "echo '<4>eth0: bad gso: type: 1' > /dev/kmsg")
		must(t, err)
		if err := a.CheckHealth(); err == nil || !strings.Contains(err.Error(), "bad gso: type: 1") {
			t.Fatalf("a complaint in the log: %v", err)
		}
	})
}

func testOffloads(t *testing.T, g *lab.Guest) {
	before, err := g.Offloads("eth0")
	must(t, err)
	if len(before) != 6 {
		t.Fatalf("at first: %v", before)
	}
	for _, on := range []bool{false, true} {
		r, err := g.SetOffloads("eth0", map[string]bool{guestwire.GRO: on})
		must(t, err)
		if r[guestwire.GRO] != on {
			t.Fatalf("set to %v: %v", on, r)
		}
	}
	if after, err := g.Offloads("eth0"); err != nil || !maps.Equal(after, before) {
		t.Fatalf("after: %v, %v; before: %v", after, err, before)
	}
	if _, err := g.SetOffloads("eth0", map[string]bool{"no-such": true}); err == nil {
		t.Fatal("an offload that does not exist was set")
	}
	if _, err := g.Offloads("eth7"); err == nil {
		t.Fatal("offloads of a link that does not exist")
	}
}

func testPlugMemory(t *testing.T, g *lab.Guest) {
	total := func() (kib int) {
		r, err := g.Exec(5*time.Second, "grep", "MemTotal", "/proc/meminfo")
		must(t, err)
		if _, err := fmt.Sscanf(strings.TrimPrefix(r.Stdout, "MemTotal:"), "%d", &kib); err != nil {
			t.Fatalf("%q: %v", r.Stdout, err)
		}
		return kib
	}
	const mib = 128
	before, deadline := total(), time.Now().Add(20*time.Second)
	must(t, g.PlugMemory("dimm0", mib))
	for total() < before+mib<<10*9/10 {
		if time.Now().After(deadline) {
			t.Fatalf("%d KiB of memory, before %d: the guest does not take %d MiB more", total(), before, mib)
		}
	}
	if err := g.PlugMemory("dimm0", mib); err == nil || !strings.Contains(err.Error(), "guest vma: plug 128 MiB of memory") {
		t.Fatalf("a name that is taken: %v", err)
	}
}
