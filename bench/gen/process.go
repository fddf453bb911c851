package gen

import (
	"context"
	"errors"
	"fmt"
	"time"

	"baton/bench/child"
	"baton/bench/machine"
)

// Options is how a generator is started. CPU and Ends must be given.
type Options struct {
	CPU       int   `json:"cpu"` // that polls
	Ends      []End `json:"ends"`
	Huge      bool  `json:"huge"`       // memory in huge pages
	MemoryMiB int   `json:"memory_mib"` // 0 = MemoryMiB
	Buffers   int   `json:"buffers"`    // 0 = Buffers
	// Favour gives its threads a place before all ordinary ones, the one that polls
	// behind the others (machine.Favour).
	Favour bool `json:"-"`
}

// Defaults of Options.
const (
	Buffers   = 16384
	MemoryMiB = 128
)

// Process is a running generator.
//
//	conc: one goroutine
type Process struct {
	*child.Process
	opts   Options
	poller int
	load   Load
}

// Start starts a generator and opens its ends.
//
//	error: what the options or the machine lack; nothing is left running
func Start(o Options) (*Process, error) {
	if o.MemoryMiB == 0 {
		o.MemoryMiB = MemoryMiB
	}
	if o.Buffers == 0 {
		o.Buffers = Buffers
	}
	if len(o.Ends) == 0 || len(o.Ends) > maxEnds {
		return nil, fmt.Errorf("traffic generator: %d ends: want 1 to %d", len(o.Ends), maxEnds)
	}
	c, err := child.Start("traffic generator", env, o.CPU)
	if err != nil {
		return nil, err
	}
	p := &Process{Process: c, opts: o}
	r, err := p.do(order{Do: "setup", Setup: &o})
	if err == nil {
		p.poller = r.Poller
		if o.Favour {
			err = machine.Favour(p.Pid(), p.poller)
		}
	}
	if err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// do has the child do something.
func (p *Process) do(o order) (r reply, err error) {
	err = p.Do(o.Do, o, &r)
	return r, err
}

// Poller is the thread that polls.
func (p *Process) Poller() int { return p.poller }

// Up waits until all ends have a link, for 10 s at the most.
func (p *Process) Up() error {
	_, err := p.do(order{Do: "up"})
	return err
}

// Begin has the generator do l until End, without a warm-up.
//
//	error: what is wrong with l
func (p *Process) Begin(l Load) error {
	if err := l.check(p.opts.Ends); err != nil {
		return fmt.Errorf("traffic generator: %w", err)
	}
	p.load = l
	_, err := p.do(order{Do: "start", Load: &l})
	return err
}

// Mark forgets what was counted: what was sent before does not count wherever it arrives.
func (p *Process) Mark() error {
	_, err := p.do(order{Do: "mark"})
	return err
}

// Counts is what was counted since Begin or Mark.
func (p *Process) Counts() (Counts, error) {
	r, err := p.do(order{Do: "counts"})
	if err != nil {
		return Counts{}, err
	}
	return *r.Counts, nil
}

// End ends the sending, waits for what is under way (Load.Drain), and stops polling.
func (p *Process) End() (*Result, error) {
	r, err := p.do(order{Do: "stop"})
	return r.Result, err
}

// Run is l for a length, after its warm-up: Begin, Mark, End.
//
//	error: what is wrong with l; ctx's, at once when it ends
func (p *Process) Run(ctx context.Context, l Load, length time.Duration) (*Result, error) {
	if err := p.Begin(l); err != nil {
		return nil, err
	}
	slept := machine.Sleep(ctx, l.WarmUp)
	mark := p.Mark()
	slept = errors.Join(slept, machine.Sleep(ctx, length))
	r, err := p.End()
	if err := errors.Join(slept, mark, err); err != nil {
		return nil, err
	}
	return r, nil
}
