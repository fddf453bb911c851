// Package child runs this program once more as a process that obeys orders: a line of JSON
// each way. What polls lives in such processes, so that it can be stopped and pinned as
// other systems are, and ends with its parent.
//
// Callers: dut (baton under test), gen (the traffic generator), vhost (its back end).
package child

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"baton/bench/machine"
)

// closeLimit is how long a child may take to end.
const closeLimit = 10 * time.Second

// Process is a running child.
//
//	conc: one goroutine
type Process struct {
	what string // for errors
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// Start starts this program with env set to 1, which tells it to be a child of that kind;
// its threads are on cpu, but for those that it pins itself. what names it in errors.
func Start(what, env string, cpu int) (*Process, error) {
	p := &Process{what: what, cmd: exec.Command("/proc/self/exe")}
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
	if err := machine.Start(p.cmd, cpu); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return p, nil
}

// Do has the child obey an order, which is called name in errors, and fills in its reply.
// A reply with a field "error" is one.
func (p *Process) Do(name string, order, reply any) error {
	raw, err := json.Marshal(order)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("%s: %s: %w", p.what, name, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s: %s: it ended: %w", p.what, name, err)
	}
	var failed struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(line, &failed); err == nil && failed.Error != "" {
		return fmt.Errorf("%s: %s: %s", p.what, name, failed.Error)
	}
	if err := json.Unmarshal(line, reply); err != nil {
		return fmt.Errorf("%s: %s: %q: %w", p.what, name, strings.TrimSpace(string(line)), err)
	}
	return nil
}

// Pid is the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Pause stops the whole process, so that nobody polls; Resume lets it go on.
func (p *Process) Pause() error  { return p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// Close ends the process the ordinary way.
//
//	error: it did not end well, or not within 10 s
func (p *Process) Close() error {
	_ = p.Resume() // one that has ended needs none: Wait tells
	p.in.Close()
	kill := time.AfterFunc(closeLimit, func() { p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.what, err)
	}
	return nil
}

// Kill ends the process at once.
func (p *Process) Kill() {
	p.in.Close()
	p.cmd.Process.Kill()
	p.cmd.Wait()
}
