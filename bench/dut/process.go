package dut

import "baton/bench/child"

// Process is a running system under test.
//
//	conc: one goroutine
type Process struct {
	*child.Process
	pollers []int
}

// Start starts the child with all threads but its workers on the CPU control, and brings
// its data plane up. VMs may come then.
//
//	error: what the configuration or the machine lack; nothing is left running
func Start(c Config, control int) (*Process, error) {
	c0, err := child.Start("baton under test", env, control)
	if err != nil {
		return nil, err
	}
	p := &Process{Process: c0}
	r, err := p.do(order{Do: doSetup, Setup: &c})
	if err != nil {
		p.Kill()
		return nil, err
	}
	p.pollers = r.Pollers
	return p, nil
}

// do has the child do something.
func (p *Process) do(o order) (r reply, err error) {
	err = p.Do(o.Do, o, &r)
	return r, err
}

// Pollers are the workers' threads.
func (p *Process) Pollers() []int { return p.pollers }

// Up waits until all VMs' rings run, for 10 s at the most.
func (p *Process) Up() error {
	_, err := p.do(order{Do: doUp})
	return err
}

// Counts is what was counted since the start.
func (p *Process) Counts() (*Counts, error) {
	r, err := p.do(order{Do: doCounts})
	return r.Counts, err
}

// Profile begins a CPU profile in a file; Profiled ends it.
func (p *Process) Profile(file string) error {
	_, err := p.do(order{Do: doProfile, File: file})
	return err
}

// Profiled ends the profile that Profile has begun.
func (p *Process) Profiled() error {
	_, err := p.do(order{Do: doProfiled})
	return err
}

// Flows is Counts with the number of megaflow entries, which takes longer.
func (p *Process) Flows() (*Counts, error) {
	r, err := p.do(order{Do: doFlows})
	return r.Counts, err
}
