package dut

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"baton/bench/child"
	"baton/dataplane/stats"
)

// env tells a process that it is a system under test.
const env = "BATON_BENCH_DUT"

// order is what the parent says, a line of JSON each.
type order struct {
	Do    string  `json:"do"`
	Setup *Config `json:"setup,omitempty"`
	File  string  `json:"file,omitempty"` // of a profile
}

// What a parent may order.
const (
	doSetup  = "setup"  // the first one
	doUp     = "up"     // wait until all VMs are there
	doCounts = "counts" // answer Counts
	doFlows  = "flows"  // the same, with Flows

	doProfile  = "profile"  // begin a CPU profile
	doProfiled = "profiled" // end it
)

// reply is the child's answer.
type reply struct {
	Error   string  `json:"error,omitempty"`
	Pollers []int   `json:"pollers,omitempty"` // threads of the workers
	Counts  *Counts `json:"counts,omitempty"`
}

// RunChild is the system under test if the process was started as one by Start, and does
// not return then. It comes first in main, before anything else is started.
func RunChild() {
	if os.Getenv(env) == "" {
		return
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "baton under test:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve obeys orders until there are no more.
func serve(in io.Reader, out io.Writer) (err error) {
	var p *plane
	defer func() {
		if p != nil {
			err = errors.Join(err, p.close())
		}
	}()
	return child.Serve(in, out, func(o order) (r reply) {
		if (p == nil) != (o.Do == doSetup) {
			r.Error = fmt.Sprintf("%s: the first order is %s, and no other is", o.Do, doSetup)
		} else if o.Do == doSetup {
			p, r = setup(*o.Setup)
		} else {
			r = p.obey(o)
		}
		return r
	})
}

func setup(c Config) (*plane, reply) {
	p, err := start(c)
	if err != nil {
		return nil, reply{Error: err.Error()}
	}
	return p, reply{Pollers: pollers(c.CPUs)}
}

func (p *plane) obey(o order) (r reply) {
	switch o.Do {
	case doProfile, doProfiled:
		err := p.endProfile()
		if o.Do == doProfile {
			err = errors.Join(err, p.beginProfile(o.File))
		}
		if err != nil {
			r.Error = err.Error()
		}
	case doUp:
		if err := p.awaitVMs(vmLimit); err != nil {
			r.Error = err.Error()
		}
	case doCounts, doFlows:
		r.Counts = p.counts()
		if o.Do == doFlows {
			flows, err := p.pool.Flows(context.Background())
			if err != nil {
				r.Error = err.Error()
			}
			r.Counts.Flows = len(flows)
		}
	default:
		r.Error = fmt.Sprintf("unknown order %q", o.Do)
	}
	return r
}

// vmLimit is how long a VM may take to come.
const vmLimit = 10 * time.Second

// awaitVMs waits until all VMs' rings run.
func (p *plane) awaitVMs(limit time.Duration) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for _, vm := range p.vms {
		for !vm.device.Info().Up {
			select {
			case <-tick.C:
			case <-late:
				return fmt.Errorf("VM %s: its rings do not run after %v", vm.name, limit)
			}
		}
	}
	return nil
}

func (p *plane) counts() *Counts {
	c := &Counts{Workers: p.pool.Workers()}
	for _, s := range p.pool.Ports() {
		n := PortCounts{Name: s.Name, Up: s.Info.Up, Rx: s.RxPackets, Tx: s.TxPackets, Drops: map[string]uint64{}}
		for i, d := range s.Drops {
			if d > 0 {
				n.Drops[stats.DropReason(i).String()] = d
			}
		}
		c.Ports = append(c.Ports, n)
	}
	return c
}

// pollers are the process's threads that may run on one of the CPUs and nowhere else: the
// workers', since all others were started on another one. Without such a one, none.
func pollers(cpus []int) (tids []int) {
	all, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil
	}
	for _, e := range all {
		var tid int
		var set unix.CPUSet
		if _, err := fmt.Sscan(e.Name(), &tid); err != nil || unix.SchedGetaffinity(tid, &set) != nil || set.Count() != 1 {
			continue
		}
		for _, c := range cpus {
			if set.IsSet(c) {
				tids = append(tids, tid)
			}
		}
	}
	return tids
}
