package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ProcConfig describes a process to start.
type ProcConfig struct {
	Name  string // for people; also the log file's name
	Path  string // program; looked up in PATH if it has no slash
	Args  []string
	Env   []string // added to the lab's own environment
	Dir   string   // working folder; empty: the lab's work folder
	Netns *Netns   // nil: the lab's own namespace
	// Once says that the process ends by itself with exit code 0; any other
	// process must run until it is stopped.
	Once bool
	// Grace is how long Stop waits between SIGTERM and SIGKILL; 0 means 5 s.
	Grace time.Duration
}

// Proc is a process that the lab started. Standard output and error go to its log.
type Proc struct {
	lab     *Lab
	cfg     ProcConfig
	cmd     *exec.Cmd // nil: adopted
	adopted int       // process id
	logPath string
	exited  chan struct{} // closed when the process is reaped
	err     error         // of Wait; read after exited
	stopped atomic.Bool   // we ended it
}

// Start starts a process; Close stops it.
//
//	error: program missing or not startable; nothing is left behind
func (l *Lab) Start(cfg ProcConfig) (*Proc, error) {
	if cfg.Grace == 0 {
		cfg.Grace = 5 * time.Second
	}
	if cfg.Dir == "" {
		cfg.Dir = l.dir
	}
	path, err := exec.LookPath(cfg.Path)
	if err != nil {
		return nil, missingProgram(cfg.Path, err)
	}
	p := &Proc{lab: l, cfg: cfg, logPath: l.Path(cfg.Name + ".log"), exited: make(chan struct{})}
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lab: %s: log: %w", cfg.Name, err)
	}
	defer log.Close() // the child has its own copy
	p.cmd = exec.Command(path, cfg.Args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = cfg.Dir, log, log
	p.cmd.Env = append(os.Environ(), cfg.Env...)

	if err := l.spawn.start(p.cmd, cfg.Netns); err != nil {
		return nil, fmt.Errorf("lab: start %s: %w", cfg.Name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		killGroup(p.Pid()) // children that it left
		close(p.exited)
	}()
	l.mu.Lock()
	l.procs = append(l.procs, p)
	l.mu.Unlock()
	l.Defer(cfg.Name, p.Stop)
	return p, nil
}

// missingProgram says how to get a program: those with a path are baton's own.
func missingProgram(path string, err error) error {
	if strings.Contains(path, "/") {
		return fmt.Errorf("lab: %w: make build builds it", err)
	}
	return fmt.Errorf("lab: %w: scripts/install-packages lab installs it", err)
}

// Run starts a process that ends by itself, waits for it and returns its
// standard output.
//
//	error: exit code other than 0 or too late, with the end of its output
func (l *Lab) Run(timeout time.Duration, n *Netns, path string, args ...string) (string, error) {
	full, err := exec.LookPath(path)
	if err != nil {
		return "", missingProgram(path, err)
	}
	var out, warnings bytes.Buffer
	cmd := exec.Command(full, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, &out, &warnings
	cmd.WaitDelay = time.Second
	if err := l.spawn.start(cmd, n); err != nil {
		return "", fmt.Errorf("lab: start %s: %w", path, err)
	}
	late := time.AfterFunc(timeout, func() { killGroup(cmd.Process.Pid) })
	err = cmd.Wait()
	if !late.Stop() {
		err = fmt.Errorf("still running after %v: killed", timeout)
	}
	if err != nil {
		return out.String(), fmt.Errorf("lab: %s %s: %w: %s", path, strings.Join(args, " "), err, tail(warnings.String()+out.String(), 5))
	}
	return out.String(), nil
}

// Adopt is a process that one of the lab's made in its own stead: it has that one's
// name, log and grace, and Close stops it. That one's end counts as asked for.
//
//	error: there is no such process
func (p *Proc) Adopt(pid int) (*Proc, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("lab: %s: process %d: %w", p.cfg.Name, pid, err)
	}
	p.stopped.Store(true)
	n := &Proc{lab: p.lab, cfg: p.cfg, adopted: pid, logPath: p.logPath, exited: make(chan struct{})}
	go func() {
		for { // its exit code is its parent's to know
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if err == nil {
				break
			}
		}
		unix.Close(fd)
		close(n.exited)
	}()
	p.lab.mu.Lock()
	p.lab.procs = append(p.lab.procs, n)
	p.lab.mu.Unlock()
	p.lab.Defer(p.cfg.Name, n.Stop)
	return n, nil
}

// MayEnd says whether the process' own end counts as asked for: it is about to make another one in
// its stead.
func (p *Proc) MayEnd(may bool) { p.stopped.Store(may) }

// Pid is the process id.
func (p *Proc) Pid() int {
	if p.cmd == nil {
		return p.adopted
	}
	return p.cmd.Process.Pid
}

// Name is the name given in ProcConfig.
func (p *Proc) Name() string { return p.cfg.Name }

// LogPath is the file that has the process's output.
func (p *Proc) LogPath() string { return p.logPath }

// Exited is closed once the process has ended and been reaped.
func (p *Proc) Exited() <-chan struct{} { return p.exited }

// Log is what the process printed so far.
func (p *Proc) Log() string {
	data, _ := os.ReadFile(p.logPath)
	return string(data)
}

// LogTail is the last n lines of Log.
func (p *Proc) LogTail(n int) string { return tail(p.Log(), n) }

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

// ended reports whether the process is gone.
func (p *Proc) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// exitError describes the end of a process that should still run.
func (p *Proc) exitError() error {
	cause := "exit code 0"
	if p.err != nil {
		cause = p.err.Error()
	}
	return fmt.Errorf("lab: %s ended by itself (%s); the end of its log:\n%s", p.cfg.Name, cause, p.LogTail(20))
}

// unexpected returns exitError if the process ended and nobody told it to.
func (p *Proc) unexpected() error {
	if !p.ended() || p.stopped.Load() || p.cfg.Once && p.err == nil {
		return nil
	}
	return p.exitError()
}

// WaitUntil polls cond until it holds, and gives up early if the process ends.
//
//	error: what was missing, with the end of the process's log
func (p *Proc) WaitUntil(what string, timeout time.Duration, cond func() bool) error {
	dead := false
	err := p.lab.WaitFor(what, timeout, func() bool {
		if cond() {
			return true
		}
		dead = p.ended()
		return dead
	})
	switch {
	case dead && p.stopped.Load():
		return fmt.Errorf("lab: %s was stopped while waiting for %s", p.cfg.Name, what)
	case dead:
		return p.exitError()
	case err != nil:
		return fmt.Errorf("%w; the end of %s's log:\n%s", err, p.cfg.Name, p.LogTail(20))
	}
	return nil
}

// WaitSocket waits until a unix socket at path accepts connections.
func (p *Proc) WaitSocket(path string, timeout time.Duration) error {
	return p.WaitUntil("listener on "+path, timeout, func() bool {
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// WaitFile waits until path exists.
func (p *Proc) WaitFile(path string, timeout time.Duration) error {
	return p.WaitUntil("file "+path, timeout, func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// WaitLine waits until the log has a line with text.
func (p *Proc) WaitLine(text string, timeout time.Duration) error {
	return p.WaitUntil(fmt.Sprintf("line %q", text), timeout, func() bool {
		return strings.Contains(p.Log(), text)
	})
}

// WaitExit waits until the process has ended and returns its exit code, or
// -1 if a signal ended it or the process was adopted.
func (p *Proc) WaitExit(timeout time.Duration) (int, error) {
	select {
	case <-p.exited:
		if p.cmd == nil {
			return -1, nil
		}
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(timeout):
		return -1, fmt.Errorf("lab: %s still runs after %v", p.cfg.Name, timeout)
	}
}

// Signal sends a signal to the process; its end counts as asked for.
func (p *Proc) Signal(s syscall.Signal) error {
	p.stopped.Store(true)
	if p.ended() {
		return nil
	}
	if err := syscall.Kill(p.Pid(), s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("lab: signal %v to %s: %w", s, p.cfg.Name, err)
	}
	return nil
}

// Stop ends the process: SIGTERM, then after the grace time SIGKILL to its
// group. It returns when the process is reaped, and again at once if called again.
//
//	error: SIGKILL was needed
func (p *Proc) Stop() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	grace := time.NewTimer(p.cfg.Grace)
	defer grace.Stop()
	select {
	case <-p.exited:
		return nil
	case <-grace.C:
		killGroup(p.Pid())
		<-p.exited
		return fmt.Errorf("lab: %s did not end within %v of SIGTERM: killed; the end of its log:\n%s",
			p.cfg.Name, p.cfg.Grace, p.LogTail(20))
	}
}

// Kill ends the process and its group with SIGKILL, as a crash does, and reaps it.
func (p *Proc) Kill() {
	p.stopped.Store(true)
	if !p.ended() {
		killGroup(p.Pid())
	}
	<-p.exited
}

// killGroup kills process group pid. It is called while the process lives or
// right after it was reaped, so that the number cannot belong to another yet.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }
