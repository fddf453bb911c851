package scenario

import (
	"fmt"
	"path/filepath"
	"slices"

	"baton/bench/gen"
	"baton/bench/peer"
	"baton/bench/suite"
	"baton/bench/topology"
)

// vmDevice is the device of the n-th VM of a load: its socket is the VM's name in dir.
func vmDevice(n int, vm topology.VM, dir string) string {
	return fmt.Sprintf("net_virtio_user%d,path=%s,server=1,queues=1,queue_size=%d,mrg_rxbuf=1,in_order=1,mac=%s",
		n, filepath.Join(dir, vm.Name+".sock"), ringSize, vm.MAC)
}

// startLoad starts the VMs of a plan and waits until the system has joined them: testpmd
// if it can make the plan's load, since nothing sends faster, else our generator.
func (b *Bench) startLoad(p Plan, dir string) (suite.Load, error) {
	if mode, ok := p.testpmdMode(); ok && !p.Numbered {
		return b.startPmdLoad(p, dir, mode)
	}
	o := gen.Options{CPU: b.LoadCPU, Huge: b.Huge}
	for i, vm := range p.VMs {
		o.Ends = append(o.Ends, gen.End{Name: vm.Name, Device: vmDevice(i, vm, dir)})
	}
	g, err := gen.Start(o)
	if err != nil {
		return nil, err
	}
	return &genLoad{g, p.Load}, nil
}

// genLoad is our generator.
type genLoad struct {
	gen  *gen.Process
	plan gen.Load
}

func (l *genLoad) Start() error { return l.gen.Begin(l.plan) }
func (l *genLoad) Close() error { return l.gen.Close() }

func (l *genLoad) Stop() (n suite.LoadCounts, err error) {
	r, err := l.gen.End()
	if err != nil {
		return n, err
	}
	for _, s := range r.Streams {
		n.Sent += s.Sent
	}
	for _, e := range r.Ends {
		n.Received += e.Rx
	}
	return n, nil
}

func (l *genLoad) Process() suite.Process {
	return suite.Process{Pid: l.gen.Pid(), Pollers: []int{l.gen.Poller()}}
}

// testpmdMode is testpmd's forwarding mode that makes the plan's load; false if none does.
// txonly sends one flow, flowgen many, which differ by the destination address, one after
// the other, from a MAC address and to one that are always the same: vm1's and far1's.
func (p *Plan) testpmdMode() (mode string, ok bool) {
	streams := p.Load.Streams
	plain := func(s gen.Stream) bool {
		f := s.Flows
		return !s.IMIX && s.Rate == 0 && f.New == 0 && f.Vary == nil && (f.Choice == "" || f.Choice == gen.RoundRobin) && s.Frame.Outer == nil
	}
	switch {
	case len(streams) == 0 && len(p.VMs) == 1 && slices.Equal(p.Load.Forwards, []gen.Forward{{From: p.VMs[0].Name, To: p.VMs[0].Name, SwapMAC: true}}):
		return "macswap", true
	case len(p.Load.Forwards) > 0 || len(streams) > 1 || slices.ContainsFunc(streams, func(s gen.Stream) bool { return !plain(s) }):
		return "", false
	case len(streams) == 0:
		return "rxonly", true
	case len(p.VMs) > 1:
		return "", false
	case streams[0].Flows.Num <= 1:
		return "txonly", true
	case streams[0].Frame.SrcMAC != gen.MAC(topology.VM1.MAC) || streams[0].Frame.DstMAC != gen.MAC(topology.Far1.MAC):
		return "", false
	}
	return "flowgen", true
}

// pmdLoad is testpmd with a port for each VM.
type pmdLoad struct {
	*peer.Testpmd
	vms int
}

func (b *Bench) startPmdLoad(p Plan, dir, mode string) (suite.Load, error) {
	// Its main thread polls for the end of the other one, so it cannot have the same CPU;
	// it does nothing while packets are counted.
	o := peer.Options{Name: "vm-" + filepath.Base(dir), Poll: b.LoadCPU, Other: b.DUTCPU, Huge: b.Huge}
	size := 64
	for i, vm := range p.VMs {
		o.Vdevs = append(o.Vdevs, vmDevice(i, vm, dir))
		if i < len(p.Load.Streams) {
			s := p.Load.Streams[i]
			o.Args = append(o.Args, fmt.Sprintf("--eth-peer=%d,%s", i, topology.FormatMAC(s.Frame.DstMAC)))
			size = s.Size
		}
	}
	if mode == "flowgen" {
		o.Args = append(o.Args, fmt.Sprintf("--flowgen-flows=%d", max(1, p.Load.Streams[0].Flows.Num)))
	}
	t, err := peer.Start(o)
	if err != nil {
		return nil, err
	}
	for _, c := range []string{"set fwd " + mode, fmt.Sprintf("set txpkts %d", size)} {
		if _, err := t.Command("%s", c); err != nil {
			t.Kill()
			return nil, err
		}
	}
	return &pmdLoad{t, len(p.VMs)}, nil
}

func (l *pmdLoad) Start() error {
	_, err := l.Command("start")
	return err
}

func (l *pmdLoad) Stop() (n suite.LoadCounts, err error) {
	out, err := l.Command("stop")
	if err != nil {
		return n, err
	}
	s, err := peer.ParseStats(out)
	for port := range l.vms {
		n.Sent += s.Tx[port]
		n.Received += s.Rx[port]
	}
	return n, err
}

func (l *pmdLoad) Process() suite.Process {
	return suite.Process{Pid: l.Pid(), Pollers: []int{l.Poller()}}
}

func (l *pmdLoad) Close() error { return l.Quit() }
