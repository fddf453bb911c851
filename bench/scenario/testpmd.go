package scenario

import (
	"fmt"
	"path/filepath"
	"time"

	"baton/bench/peer"
	"baton/bench/suite"
	"baton/bench/tsc"
)

// testpmdSystem is DPDK's vhost library with nothing behind it: frames go from one port
// to another as they are (io). No switch in C does less.
type testpmdSystem struct {
	*peer.Testpmd
	vms int
}

func (b *Bench) startTestpmd(p Plan, dir string) (suite.System, error) {
	if p.Ports == [2]string{} || p.Workers > 1 {
		return nil, unableError("testpmd forwards from one port to another, and does nothing else")
	}
	o := peer.Options{Name: filepath.Base(dir), Poll: b.DUTCPU, Other: b.LoadCPU, Huge: b.Huge, Buffers: 16384 + p.Kept, Args: []string{"--no-flush-rx"}}
	vms := 0
	for i, port := range p.Ports {
		if port == "nic" {
			o.Vdevs = append(o.Vdevs, p.NIC)
			continue
		}
		vms++
		o.Vdevs = append(o.Vdevs, fmt.Sprintf("net_vhost%d,iface=%s,queues=1,client=1", i, filepath.Join(dir, port+".sock")))
	}
	t, err := peer.Start(o)
	if err != nil {
		return nil, err
	}
	return &testpmdSystem{Testpmd: t, vms: vms}, nil
}

func (s *testpmdSystem) Name() string { return Testpmd }

// Up waits for the VMs and starts the forwarding, which goes on for ever.
func (s *testpmdSystem) Up() error {
	if err := s.SawTimes("virtio is now ready for processing", s.vms, 10*time.Second); err != nil {
		return err
	}
	for _, c := range []string{"set record-core-cycles on", "set portlist 0,1", "set fwd io", "start"} {
		if _, err := s.Command("%s", c); err != nil {
			return err
		}
	}
	return nil
}

func (s *testpmdSystem) Counts() (c suite.Counts, err error) {
	n, err := s.Stats()
	if err != nil {
		return c, err
	}
	c = suite.Counts{Busy: n.Busy, Cycles: tsc.Read(), Workers: 1, Drops: map[string]uint64{}}
	for port, rx := range n.Rx {
		c.Rx, c.Tx = c.Rx+rx, c.Tx+n.Tx[port]
		c.Drops[suite.DropFull] += n.Dropped[port]
	}
	return c, nil
}

func (s *testpmdSystem) Process() suite.Process {
	return suite.Process{Pid: s.Pid(), Pollers: []int{s.Poller()}}
}

func (s *testpmdSystem) Close() error {
	s.Resume()
	return s.Quit()
}
