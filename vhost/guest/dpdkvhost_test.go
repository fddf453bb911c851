package guest_test

import (
	"bytes"
	"context"
	"encoding/binary"
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
			log := out.String() // a line a field of each message: the end tells enough
			t.Logf("testpmd: %v\n...%s", err, log[max(0, len(log)-2000):])
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

// warmUp sends numbered frames until one has come back on each pair, and then waits for
// the last: a port of DPDK's may have come up while its forwarding has not begun.
func warmUp(t *testing.T, g *guest.Guest) {
	t.Helper()
	f, in := make([]byte, 60), [][]byte{make([]byte, 60)}
	for pair := range g.Tx {
		sent, got := uint32(0), uint32(0)
		for deadline := time.Now().Add(10 * time.Second); got == 0 || got != sent; runtime.Gosched() {
			if got == 0 && g.Tx[pair].Pending() == 0 {
				binary.BigEndian.PutUint32(f, sent+1)
				sent += uint32(g.Tx[pair].SendBurst([][]byte{f}, nil))
			}
			in[0] = in[0][:60]
			if g.Rx[pair].RecvBurst(in, nil) == 1 {
				got = binary.BigEndian.Uint32(in[0])
			}
			if time.Now().After(deadline) {
				t.Fatalf("frame %d of %d came back last", got, sent)
			}
		}
	}
}
