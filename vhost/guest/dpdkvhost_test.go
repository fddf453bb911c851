package guest_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"baton/vhost/guest"
	"baton/vhost/proto"
)

// dpdkVhost starts testpmd as a back end by DPDK's own vhost library: what comes on a
// queue pair goes back on it. It ends with the test.
func dpdkVhost(t *testing.T, path string, pairs int) {
	t.Helper()
	bin, err := exec.LookPath("dpdk-testpmd")
	if err != nil {
		t.Skip("dpdk-testpmd is not installed: apt-get install dpdk-dev")
	}
	cmd := exec.Command(bin, "--no-pci", "--no-huge", "-m", "256", "--no-shconf", "--no-telemetry", "-l", "0-1",
		"--vdev", fmt.Sprintf("net_vhost0,iface=%s,queues=%d", path, pairs), "--", "--forward-mode=io", "--auto-start",
		"--total-num-mbufs=16384", "--no-lsc-interrupt", fmt.Sprintf("--rxq=%d", pairs), fmt.Sprintf("--txq=%d", pairs),
		"--rxd=1024", "--txd=1024", "-i")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		in.Write([]byte("stop\nquit\n"))
		in.Close()
		if err := cmd.Wait(); !kill.Stop() || err != nil || t.Failed() {
			t.Logf("testpmd: %v\n%s", err, out.String())
		}
	})
}

// TestDPDKVhost has DPDK's vhost library as the back end, which shares no code with
// ours: rings of both formats, chains, indirect tables, in order or not, any size.
func TestDPDKVhost(t *testing.T) {
	const base = proto.FeatureVersion1 | proto.FeatureProtocol | proto.FeatureMrgRxbuf | proto.FeatureMQ
	const packed, inOrder, indirect, event = proto.FeatureRingPacked, proto.FeatureInOrder, proto.FeatureIndirectDesc, proto.FeatureEventIdx
	path := filepath.Join(t.TempDir(), "s")
	dpdkVhost(t, path, 2)
	for _, c := range []struct {
		name string
		cfg  guest.Config
	}{
		{"split", guest.Config{Features: base}},
		{"split/event/chain", guest.Config{Features: base | event | indirect, TxChain: 3, RxChain: 2}},
		{"split/in_order", guest.Config{Features: base | inOrder}},
		{"packed", guest.Config{Features: base | packed}},
		{"packed/chain", guest.Config{Features: base | packed, TxChain: 3, RxChain: 2}},
		{"packed/indirect", guest.Config{Features: base | packed | indirect, TxChain: 3}},
		{"packed/in_order", guest.Config{Features: base | packed | inOrder}},
		{"packed/wait", guest.Config{Features: base | packed | event, Blocking: true}},
		{"packed/wait/no_event", guest.Config{Features: base | packed, Blocking: true}},
		{"packed/odd_size", guest.Config{Features: base | packed | event, RingSize: 257}},
		{"packed/two_pairs", guest.Config{Features: base | packed, QueuePairs: 2}},
		{"packed/merged", guest.Config{Features: base | packed, BufSize: 256, TxBufSize: 2048, RingSize: 512}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Name, c.cfg.Path, c.cfg.BufSize = "g1", path, max(c.cfg.BufSize, 256)
			if c.cfg.TxBufSize == 0 {
				c.cfg.BufSize = 1600
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			g, err := guest.New(ctx, c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if lost := c.cfg.Features &^ g.Features(); lost != 0 {
				t.Fatalf("negotiated %#x of %#x", g.Features(), c.cfg.Features)
			}
			warmUp(t, g)
			for pair := range max(1, c.cfg.QueuePairs) {
				bounce(t, g, pair, 3000, 1500, c.cfg.Blocking)
			}
		})
	}
}

// warmUp sends frames until one has come back on each pair, and all of them have: a
// port of DPDK's may have come up while its forwarding has not begun.
func warmUp(t *testing.T, g *guest.Guest) {
	t.Helper()
	f := [][]byte{make([]byte, 60)}
	for pair := range g.Tx {
		got := 0
		for deadline := time.Now().Add(10 * time.Second); got == 0; runtime.Gosched() {
			if g.Tx[pair].Pending() == 0 {
				g.Tx[pair].SendBurst(f, nil)
			}
			got += g.Rx[pair].Discard(32)
			if time.Now().After(deadline) {
				t.Fatal("nothing came back")
			}
		}
		for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); runtime.Gosched() {
			g.Rx[pair].Discard(32)
		}
	}
}
