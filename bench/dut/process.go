package dut

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"baton/bench/machine"
)

// Process is a running system under test.
//
//	conc: one goroutine
type Process struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	pollers []int
}

// Start starts the child with all threads but its workers on the CPU control, and brings
// its data plane up. VMs may come then.
//
//	error: what the configuration or the machine lack; nothing is left running
func Start(c Config, control int) (*Process, error) {
	p := &Process{cmd: exec.Command("/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), env+"=1")
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := machine.Start(p.cmd, control); err != nil {
		return nil, fmt.Errorf("baton under test: %w", err)
	}
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
	raw, err := json.Marshal(o)
	if err != nil {
		return r, err
	}
	if _, err := p.in.Write(append(raw, '\n')); err != nil {
		return r, fmt.Errorf("baton under test: %s: %w", o.Do, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("baton under test: %s: it ended: %w", o.Do, err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("baton under test: %s: %q: %w", o.Do, line, err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("baton under test: %s: %s", o.Do, r.Error)
	}
	return r, nil
}

// Pid is the process; Pollers its workers' threads.
func (p *Process) Pid() int       { return p.cmd.Process.Pid }
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

// Flows is Counts with the number of megaflow entries, which takes longer.
func (p *Process) Flows() (*Counts, error) {
	r, err := p.do(order{Do: doFlows})
	return r.Counts, err
}

// Pause stops the whole process, so that nobody polls; Resume lets it go on.
func (p *Process) Pause() error  { return p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// Close ends the process the ordinary way.
//
//	error: it did not end well, or not within 10 s
func (p *Process) Close() error {
	p.Resume()
	p.in.Close()
	kill := time.AfterFunc(10*time.Second, func() { p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("baton under test: %w", err)
	}
	return nil
}

// Kill ends the process at once.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}
