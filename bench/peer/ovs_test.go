package peer_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"baton/bench/machine"
	"baton/bench/peer"
)

// ovsOptions are those of an OVS whose NIC always has frames, and that drops them.
func ovsOptions(t *testing.T) peer.OVSOptions {
	t.Helper()
	const mib = 256
	switch {
	case os.Getuid() != 0:
		t.Skip("needs root")
	case peer.CheckOVS() != nil:
		t.Skip(peer.CheckOVS())
	case machine.FreeHugePages() < mib/2:
		t.Skipf("needs %d huge pages", mib/2)
	}
	dir, err := os.MkdirTemp("", "ovs") // shorter than t.TempDir: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("RUNTIME_DIRECTORY", dir) // DPDK leaves a folder there
	return peer.OVSOptions{Dir: dir, CPUs: []int{0}, Control: runtime.NumCPU() - 1, MiB: mib, NIC: "net_null0,copy=0",
		VTEP: netip.MustParsePrefix("192.168.100.1/24"), MAC: "02:ff:00:00:00:01", Far: netip.MustParseAddr("192.168.100.2"), FarMAC: "02:ff:00:00:00:02",
		VMs: []string{"vm1"}, Sockets: dir, Flows: []string{"in_port=vm1,actions=drop"}}
}

func TestOVS(t *testing.T) {
	s, err := peer.StartOVS(ovsOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Kill()
	pid, pollers := s.Pid(), s.Pollers()
	if len(pollers) != 1 {
		t.Errorf("pollers %v", pollers)
	}
	var c peer.OVSCounts
	for c.Received == 0 {
		if c, err = s.Counts(); err != nil {
			t.Fatal(err)
		}
	}
	if c.PMDs != 1 || c.Busy == 0 || c.Ports[peer.OVSNIC].Rx == 0 {
		t.Errorf("%+v", c)
	}
	if err := s.Pause(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil { // a paused one too
		t.Error(err)
	}
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		t.Errorf("process %d: %v", pid, err)
	}
}

// What OVS refuses is told in its words.
func TestStartOVS_refused(t *testing.T) {
	for want, change := range map[string]func(*peer.OVSOptions){
		"net_nobody0": func(o *peer.OVSOptions) { o.NIC = "net_nobody0" },
		"fly":         func(o *peer.OVSOptions) { o.Flows = []string{"actions=fly"} },
	} {
		o := ovsOptions(t)
		change(&o)
		s, err := peer.StartOVS(o)
		if err == nil {
			s.Kill()
			t.Errorf("%s: no error", want)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %s: %v", want, err)
		}
		if _, err := os.Stat(filepath.Join(o.Dir, "conf.db")); err != nil {
			t.Error(err)
		}
	}
}
