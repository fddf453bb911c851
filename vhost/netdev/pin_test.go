package netdev_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"baton/vhost/netdev"
	"baton/vhost/proto"
	"baton/vhost/virtq/drivertest"
)

const (
	vmOne = "process 100:1"
	vmTwo = "process 100:2" // the same process number, another time
)

// restart ends the rig's device, as a killed process does, and makes one of another
// process, with other settings, over the same guest.
func (g *rig) restart(cfg netdev.Config) {
	g.t.Helper()
	g.dev.Disconnected()
	g.ok(g.dev.Close())
	cfg.Name, cfg.QueuePairs = "vm1", 1
	var err error
	g.dev, err = netdev.New(cfg)
	g.ok(err)
}

// 39: a front end that comes back is offered what it was offered before, also by a
// process that is told to offer less or more; another front end, even of the same
// process number, is offered what is configured.
func TestHostile39_FeaturesStay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "vm1.json")
	all := newRig(t, nil).dev.Features()
	for _, c := range []struct{ before, after uint64 }{
		{0, netdev.Offloads | proto.FeatureRingPacked},
		{netdev.Offloads | proto.FeatureRingPacked, 0},
	} {
		os.Remove(file)
		g := newRig(t, func(cfg *netdev.Config) { cfg.Pin, cfg.Without = file, c.before })
		offered := all &^ c.before
		g.dev.Connected(vmOne)
		if got := g.dev.Features(); got != offered {
			t.Fatalf("offered %#x, want %#x", got, offered)
		}
		g.connect(modern)
		g.passes()
		for range 2 {
			g.restart(netdev.Config{Pin: file, Without: c.after})
			g.dev.Connected(vmTwo)
			if got := g.dev.Features(); got != all&^c.after {
				t.Errorf("a new VM is offered %#x, want %#x", got, all&^c.after)
			}
			g.dev.Connected("")
			if got := g.dev.Features(); got != all&^c.after {
				t.Errorf("an unknown front end is offered %#x, want %#x", got, all&^c.after)
			}
			g.dev.Connected(vmOne)
			if got := g.dev.Features(); got != offered || !g.dev.Snapshot().Pinned {
				t.Errorf("after the restart it is offered %#x, want %#x", got, offered)
			}
			g.connect(modern)
			g.passes()
		}
		// Of the new VM a file is kept in turn.
		g.dev.Disconnected()
		g.dev.Connected(vmTwo)
		g.connect(modern)
		g.restart(netdev.Config{Pin: file, Without: c.before})
		g.dev.Connected(vmOne)
		if got := g.dev.Features(); got != offered {
			t.Errorf("a VM of the past is offered %#x, want what is configured: %#x", got, offered)
		}
	}
}

// A file that cannot be used, whatever is in it, costs what it says and no more.
func TestDamagedPin(t *testing.T) {
	for name, text := range map[string]string{
		"empty":      "",
		"cut":        `{"front_end":"process 100:1","features_offered":"0x1`,
		"no numbers": `{"front_end":"process 100:1","features_offered":"much","features_acknowledged":"more"}`,
		"no owner":   `{"features_offered":"0x1","features_acknowledged":"0x1"}`,
		"long":       strings.Repeat(" ", 1<<20) + `{}`,
		"all bits":   `{"front_end":"process 100:1","features_offered":"0xffffffffffffffff","features_acknowledged":"0xffffffffffffffff"}`,
	} {
		file := filepath.Join(t.TempDir(), "vm1.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		g := newRig(t, func(c *netdev.Config) { c.Pin = file })
		all := newRig(t, nil).dev.Features()
		g.dev.Connected(vmOne)
		if got := g.dev.Features(); got&^(all|proto.FeatureMQ|proto.FeatureMTU) != 0 || got&proto.FeatureVersion1 == 0 {
			t.Errorf("%s: offered %#x", name, got)
		}
		g.connect(modern)
		g.passes()
	}
	// A folder that cannot be written costs nothing but the pin.
	g := newRig(t, func(c *netdev.Config) { c.Pin = "/proc/nowhere/vm1.json" })
	g.dev.Connected(vmOne)
	g.connect(modern)
	g.passes()
}

// headerIs sends a frame whose bytes begin behind a header of n bytes, and checks that
// the switch gets it right.
func (g *rig) headerIs(n int) {
	g.t.Helper()
	clear(g.mem.Bytes[dataOff : dataOff+80])
	copy(g.mem.Bytes[dataOff+n:], "dstmacsrcmac")
	g.tx.SetDesc(0, descOf(dataOff, n+60))
	g.tx.Push(0)
	got := g.dev.Queue(0).Rx(g.cache, &g.vec)
	if got != 1 || !strings.HasPrefix(string(g.vec[0].Data()), "dstmacsrcmac") || g.vec[0].Len() != 60 {
		g.t.Errorf("header of %d bytes: %d frames", n, got)
	}
	g.cache.FreeAll(&g.vec, got)
}

// 39: QEMU comes back and acknowledges nothing, or PROTOCOL_FEATURES alone, while its
// guest goes on with headers of 12 bytes: the trap of two bytes too many at the head.
func TestHostile39_FeaturesForgotten(t *testing.T) {
	for _, again := range []uint64{0, proto.FeatureProtocol} {
		for _, restart := range []bool{false, true} {
			file := filepath.Join(t.TempDir(), "vm1.json")
			g := newRig(t, func(c *netdev.Config) { c.Pin = file })
			g.dev.Connected(vmOne)
			g.connect(modern)
			g.passes()
			g.headerIs(12)
			g.dev.Disconnected()
			if restart {
				g.restart(netdev.Config{Pin: file})
			}
			g.dev.Connected(vmOne)
			g.connect(again)
			g.headerIs(12)
			g.passes()
			s := g.dev.Snapshot()
			if s.Recalled != 1 || s.Features != modern&^proto.FeatureProtocol|again {
				t.Errorf("recalled %d times, features %#x", s.Recalled, s.Features)
			}
			g.ok(g.dev.SetFeatures(again)) // once for each queue pair
			g.headerIs(12)
			// Its driver is reset: what comes now is what the driver after it wants.
			g.ok(g.dev.SetStatus(0))
			g.connect(again)
			g.headerIs(10)
		}
	}
}

// Acknowledging nothing is right for a driver of old: with fresh rings, or of another VM.
func TestLegacyDriverIsNotForgetful(t *testing.T) {
	for _, peer := range []string{vmOne, vmTwo} {
		g := newRig(t, nil)
		g.dev.Connected(vmOne)
		g.connect(modern)
		g.passes()
		g.dev.Disconnected()
		if peer == vmOne {
			clear(g.mem.Bytes)
			g.tx, g.rx = drivertest.NewRing(g.mem, ringNum, txRing), drivertest.NewRing(g.mem, ringNum, rxRing)
		}
		g.dev.Connected(peer)
		g.connect(proto.FeatureProtocol)
		g.headerIs(10)
	}
}

// A guest that acknowledged all that it was offered is known by the next process too.
func TestPinOfAllThatWasOffered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "vm1.json")
	g := newRig(t, func(c *netdev.Config) { c.Pin, c.Without = file, proto.FeatureLogAll })
	g.dev.Connected(vmOne)
	all := g.dev.Features()
	g.ok(g.dev.SetFeatures(all))
	g.restart(netdev.Config{Pin: file, Without: netdev.Offloads})
	g.dev.Connected(vmOne)
	if got := g.dev.Features(); got != all {
		t.Errorf("offered %#x after the restart, want %#x", got, all)
	}
}
