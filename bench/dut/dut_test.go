package dut_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"baton/bench/dut"
	"baton/bench/topology"
)

func TestMain(m *testing.M) {
	dut.RunChild()
	os.Exit(m.Run())
}

// config is a system with no VMs, without huge pages.
func config(t *testing.T) dut.Config {
	t.Helper()
	s, err := topology.Network()
	if err != nil {
		t.Fatal(err)
	}
	network, err := dut.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return dut.Config{CPUs: []int{0}, NIC: "net_null0,copy=0", VTEP: topology.HostVTEP.IP, MAC: topology.HostVTEP.MAC.String(), MTU: topology.MTU,
		Network: network, Host: topology.Host, Sockets: t.TempDir(), Buffers: 4096}
}

// net_null gives frames of zeros for ever: each is counted, and dropped.
func TestProcess(t *testing.T) {
	c := config(t)
	c.Profile = t.TempDir() + "/profile"
	p, err := dut.Start(c, runtime.NumCPU()-1)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.NumCPU() > 1 && len(p.Pollers()) != 1 {
		t.Errorf("pollers %v", p.Pollers())
	}
	if err := p.Up(); err != nil {
		t.Error(err)
	}
	var n *dut.Counts
	for n == nil || n.Ports[0].Rx == 0 {
		if n, err = p.Counts(); err != nil {
			t.Fatal(err)
		}
	}
	if n.Ports[0].Name != "underlay" || n.Ports[0].Drops["not_for_us"] == 0 || len(n.Workers) != 1 || n.Workers[0].CPU != 0 || n.Workers[0].BusyCycles == 0 {
		t.Errorf("%+v", n)
	}
	// A profile of its own ends the one that runs.
	if err := p.Profile(c.Profile + "2"); err != nil {
		t.Error(err)
	}
	for busy, enough := n.Workers[0].BusyCycles, uint64(1e9); n.Workers[0].BusyCycles-busy < enough; { // some tenths of a second
		if n, err = p.Counts(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Profiled(); err != nil {
		t.Error(err)
	}
	if n, err = p.Flows(); err != nil || n.Flows != 0 {
		t.Errorf("flows: %+v, %v", n, err)
	}
	if err := p.Pause(); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil { // a paused one too
		t.Error(err)
	}
	if err := checkProfile(c.Profile + "2"); err != nil {
		t.Error(err)
	}
	if i, err := os.Stat(c.Profile); err != nil || i.Size() == 0 {
		t.Errorf("profile: %v, %v", i, err)
	}
}

// checkProfile says whether a profile's samples are of the stages that frames of zeros take.
func checkProfile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	shares, samples, err := dut.Shares(f)
	if err == nil && (shares[dut.StageEnter] == 0 || shares[dut.StageReceive] == 0) {
		err = fmt.Errorf("%d samples: %v", samples, shares)
	}
	return err
}

// Two workers share the queues of a NIC that has two.
func TestProcess_twoWorkers(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("one CPU")
	}
	c := config(t)
	c.CPUs, c.Queues = []int{0, 1}, 2
	p, err := dut.Start(c, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := p.Counts()
	if err != nil || len(n.Workers) != 2 || len(n.Workers[0].Queues) != 1 || len(n.Workers[1].Queues) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestStart_refused(t *testing.T) {
	for want, change := range map[string]func(*dut.Config){
		"no rules":   func(c *dut.Config) { c.Host = "nobody" },
		"net_nobody": func(c *dut.Config) { c.NIC = "net_nobody0" },
		"VTEP":       func(c *dut.Config) { c.MAC = "x" },
	} {
		c := config(t)
		change(&c)
		p, err := dut.Start(c, runtime.NumCPU()-1)
		if err == nil {
			p.Kill()
			t.Errorf("%s: no error", want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}
