package e2e_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"baton/test/cluster"
	"baton/vhost/guest"
)

// TestVMsComeAndGo connects and disconnects a VM many times, under traffic both
// ways and in every manner of leaving. Then batond has as many open files and
// as much guest memory mapped as before, and all its buffers.
func TestVMsComeAndGo(t *testing.T) {
	for _, mode := range []string{"client", "server"} {
		t.Run(mode, func(t *testing.T) { testVMsComeAndGo(t, mode) })
	}
}

func testVMsComeAndGo(t *testing.T, mode string) {
	c := newCluster(t)
	startController(t, c, network)
	cfg := host1()
	cfg.VhostMode = mode
	h := startHost(t, c, cfg)
	must(t, c.WaitInStep("host1"))
	socket := func(cfg *guest.Config) { cfg.Listen = mode == "client" }
	held := holdings(t, h)

	other := attachVM(t, c, h, vm2, socket)
	if with := holdings(t, h); !strings.HasPrefix(with, "1 guest memories") || with == held {
		t.Fatalf("with a VM batond holds %s, without %s: this test sees nothing", with, held)
	}
	there := frameSpec{Src: vm1, Dst: vm2, Via: gwBlue.MAC, SrcPort: 1, DstPort: 9, Len: 1000}
	back := frameSpec{Src: vm2, Dst: vm1, Via: gwGreen.MAC, SrcPort: 9, DstPort: 1, Len: 1000}
	const cycles, burst = 50, 64
	for i := range cycles {
		v := attachVM(t, c, h, vm1, socket)
		v.send(t, there.Bytes())
		other.expect(t, there.Routed(gwGreen).Bytes())
		// Frames are on their way to and from the VM when it goes.
		for range burst {
			other.send(t, back.Bytes())
		}
		v.send(t, repeat(frameSpec{Src: vm1, Dst: gwGreen, Via: gwBlue.MAC, SrcPort: 1, DstPort: 9}.Bytes(), burst)...)
		switch i % 3 {
		case 0:
			v.leave()
		case 1:
			v.vanish()
		case 2:
			v.Guest.Disconnect()
			v.vanish()
		}
		waitFor(t, c, "departure of the VM", func() bool { return !portOf(t, h, "vm1").Up })
	}
	other.leave()
	must(t, settled(c, h))
	var now string
	waitFor(t, c, "open files and mappings as before: "+held, func() bool {
		now = holdings(t, h)
		return now == held
	})
	for _, name := range []string{"vm1", "vm2"} {
		if v := vhostOf(t, h, name); v.Connected || len(v.Regions) != 0 || len(v.Errors) != 0 {
			t.Errorf("after the last VM has gone: %+v", v)
		}
	}
}

// repeat is n times the frame.
func repeat(frame []byte, n int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = frame
	}
	return frames
}

// holdings counts what batond holds of the kernel's that VMs come with: open
// files by kind, and mapped guest memories.
func holdings(t *testing.T, h *cluster.Host) string {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", h.Proc.Pid())
	fds, err := os.ReadDir(proc + "fd")
	must(t, err)
	kinds := map[string]int{}
	for _, fd := range fds {
		// A file that is closed meanwhile is not held.
		if target, err := os.Readlink(proc + "fd/" + fd.Name()); err == nil {
			kind, _, _ := strings.Cut(target, ":[")
			kinds[kind]++
		}
	}
	maps, err := os.ReadFile(proc + "maps")
	must(t, err)
	return fmt.Sprintf("%d guest memories, files %v", strings.Count(string(maps), "memfd:guest-"), kinds)
}

// TestHugePagesGivenBack ends batond in both ways there are: all its huge pages
// are free again.
func TestHugePagesGivenBack(t *testing.T) {
	c := newCluster(t)
	h, err := c.AddHost(host1())
	must(t, err)
	before := hugePagesFree(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		must(t, h.Start())
		s, err := h.Stats()
		must(t, err)
		if !strings.Contains(s.Memory, "huge pages") {
			t.Fatalf("batond uses %s: the test needs free huge pages", s.Memory)
		}
		if n := hugePagesFree(t); n >= before {
			t.Errorf("%d huge pages free while batond runs, %d before", n, before)
		}
		must(t, h.Proc.Signal(signal))
		_, err = h.Proc.WaitExit(waitLimit)
		must(t, err)
		waitFor(t, c, fmt.Sprintf("%d free huge pages after %v", before, signal), func() bool { return hugePagesFree(t) >= before })
	}
}

var hugePagesLine = regexp.MustCompile(`HugePages_Free: +(\d+)`)

func hugePagesFree(t *testing.T) int {
	t.Helper()
	info, err := os.ReadFile("/proc/meminfo")
	must(t, err)
	m := hugePagesLine.FindSubmatch(info)
	if m == nil {
		t.Fatal("/proc/meminfo has no HugePages_Free")
	}
	n, err := strconv.Atoi(string(m[1]))
	must(t, err)
	return n
}
