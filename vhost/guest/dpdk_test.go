package guest_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"baton/vhost/proto"
)

// testpmd starts DPDK's testpmd as a guest with one net_virtio_user port and
// returns a function that stops it and returns what it printed.
func testpmd(t *testing.T, path, mode string, server bool) (stop func() string) {
	t.Helper()
	bin, err := exec.LookPath("dpdk-testpmd")
	if err != nil {
		t.Skip("dpdk-testpmd is not installed: apt-get install dpdk-dev")
	}
	vdev := "net_virtio_user0,path=" + path + ",queues=1"
	if server {
		vdev += ",server=1"
	}
	cmd := exec.Command(bin, "--no-pci", "--no-huge", "-m", "128", "--no-shconf", "--no-telemetry", "-l", "0-1",
		"--vdev", vdev, "--", "--forward-mode="+mode, "--auto-start", "--total-num-mbufs=8192", "--no-lsc-interrupt",
		"--stats-period=0", "-i")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(60*time.Second, func() { cmd.Process.Kill() })
	return func() string {
		in.Write([]byte("stop\nquit\n"))
		in.Close()
		err := cmd.Wait()
		if !kill.Stop() || err != nil {
			t.Errorf("testpmd: %v\n%s", err, out.String())
		}
		return out.String()
	}
}

// TestVirtioUser has DPDK's own virtio driver and vhost-user front end as the
// guest, in both socket modes: it sends, it receives, it forwards.
func TestVirtioUser(t *testing.T) {
	const num = 20000
	const most = num / 2 // io forwarding on busy cores may drop in testpmd
	for _, mode := range []proto.Mode{proto.ModeServer, proto.ModeClient} {
		for _, forward := range []string{"txonly", "rxonly", "io"} {
			t.Run(mode.String()+"/"+forward, func(t *testing.T) {
				var got, bad, made atomic.Int64
				w := newWorker(t, 1, func(w *worker) {
					w.sink = true
					w.tap = func(_ int, f []byte) {
						got.Add(1)
						if len(f) != 64 {
							bad.Add(1)
						}
					}
					f := make([]byte, 64)
					w.send = func() []byte {
						if forward == "txonly" || made.Load() == num || w.dev.ActiveQueues() == 0 {
							return nil
						}
						made.Add(1)
						return f
					}
				})
				path := filepath.Join(t.TempDir(), "s")
				c, err := proto.Start(context.Background(), proto.Config{Port: "p1", Path: path, Mode: mode, Backend: w.dev})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				stop := testpmd(t, path, forward, mode == proto.ModeClient)
				deadline := time.Now().Add(30 * time.Second)
				for time.Now().Before(deadline) && (forward != "rxonly" && got.Load() < most || forward != "txonly" && made.Load() < num) {
					tick := time.NewTimer(10 * time.Millisecond)
					<-tick.C
				}
				out := stop()
				if forward != "rxonly" && got.Load() < most || bad.Load() > 0 {
					t.Errorf("%d frames came, %d of a wrong length\n%s", got.Load(), bad.Load(), out)
				}
				if rx := received(out); forward != "txonly" && rx < most {
					t.Errorf("testpmd received %d of %d\n%s", rx, made.Load(), out)
				}
				if n := c.Session(); n != nil && n.Counts().Refused > 0 {
					t.Errorf("%d messages refused", n.Counts().Refused)
				}
			})
		}
	}
}

// received is testpmd's own count of packets that came in.
func received(out string) int {
	m := regexp.MustCompile(`RX-packets: (\d+)`).FindAllStringSubmatch(out, -1)
	if len(m) == 0 {
		return 0
	}
	n, err := strconv.Atoi(m[len(m)-1][1])
	if err != nil {
		return 0
	}
	return n
}
