package peer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"baton/bench/machine"
)

// Options is how a testpmd is started. All but Huge must be given.
type Options struct {
	Name  string // unique on the machine
	Poll  int    // CPU that forwards
	Other int    // CPU of all else
	Huge  bool   // memory in huge pages
	// Buffers is the size of its pool; 0 = 16384.
	Buffers int
	Vdevs   []string
	Args    []string // testpmd's own, behind --
}

// MemoryMiB is what DefaultBuffers of 2304 bytes and the queues of a few ports need.
const (
	MemoryMiB      = 128
	DefaultBuffers = 16384
	bufferSize     = 2560 // with what the pool loses at the ends of pages
)

// memoryMiB is what testpmd needs.
func (o *Options) memoryMiB() int {
	return MemoryMiB + max(0, o.Buffers-DefaultBuffers)*bufferSize>>20
}

// ErrNotInstalled is the error of Start on a machine without testpmd.
var ErrNotInstalled = errors.New("dpdk-testpmd is not installed: make packages-lab")

// Check says whether testpmd is installed.
//
//	error: ErrNotInstalled
func Check() error {
	if _, err := exec.LookPath(program); err != nil {
		return ErrNotInstalled
	}
	if _, err := exec.LookPath("stdbuf"); err != nil {
		return errors.New("no stdbuf, through which testpmd's words come at once: install coreutils")
	}
	return nil
}

// program is what is run.
const program = "dpdk-testpmd"

// Testpmd is a running testpmd with its prompt.
//
//	conc: one goroutine
type Testpmd struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	poller int

	mu   sync.Mutex
	out  []byte
	read int // of out, by Command
	news chan struct{}
	gone chan struct{} // closed when the process has ended
}

// Start runs testpmd until it shows its prompt.
//
//	error: ErrNotInstalled; testpmd's own words, if it ends or does not answer
func Start(o Options) (*Testpmd, error) {
	bin, err := exec.LookPath(program)
	if err != nil {
		return nil, ErrNotInstalled
	}
	// Line by line, or its answers wait in its buffer.
	args := []string{"-oL", bin, "--no-pci", "--no-telemetry",
		"--file-prefix=" + o.Name, "-m", fmt.Sprint(o.memoryMiB()),
		"--lcores", fmt.Sprintf("0@%d,1@%d", o.Other, o.Poll), "--main-lcore=0"}
	if o.Huge {
		args = append(args, "--in-memory", "--single-file-segments")
	} else {
		args = append(args, "--no-huge", "--no-shconf") // in memory that can be shared all the same, a memfd
	}
	for _, v := range o.Vdevs {
		args = append(args, "--vdev", v)
	}
	args = append(append(args, "--", "-i", fmt.Sprintf("--total-num-mbufs=%d", max(o.Buffers, DefaultBuffers)), "--no-lsc-interrupt"), o.Args...)
	t := &Testpmd{cmd: exec.Command("stdbuf", args...), news: make(chan struct{}, 1), gone: make(chan struct{})}
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	t.cmd.Stdout, t.cmd.Stderr = w, w
	if t.in, err = t.cmd.StdinPipe(); err == nil {
		err = machine.Start(t.cmd, o.Other)
	}
	w.Close()
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("testpmd %s: %w", o.Name, err)
	}
	go t.runReader(out)
	if _, err := t.prompt(20 * time.Second); err != nil {
		t.Kill()
		return nil, fmt.Errorf("testpmd %s: %w", o.Name, err)
	}
	if t.poller, err = machine.FindThread(t.Pid(), "rte-worker"); err != nil {
		t.Kill()
		return nil, fmt.Errorf("testpmd %s: %w", o.Name, err)
	}
	return t, nil
}

func (t *Testpmd) runReader(out *os.File) {
	defer close(t.gone)
	defer out.Close()
	p := make([]byte, 8192)
	for {
		n, err := out.Read(p)
		t.mu.Lock()
		t.out = append(t.out, p[:n]...)
		t.mu.Unlock()
		select {
		case t.news <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// Pid is the process; Poller its forwarding thread.
func (t *Testpmd) Pid() int    { return t.cmd.Process.Pid }
func (t *Testpmd) Poller() int { return t.poller }

// Output is all that testpmd has said.
func (t *Testpmd) Output() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.out)
}

// prompt waits for testpmd's next prompt and returns what came before it.
func (t *Testpmd) prompt(limit time.Duration) (string, error) {
	return t.await("testpmd> ", limit)
}

// await waits for mark in what was not returned yet, and returns that up to mark.
func (t *Testpmd) await(mark string, limit time.Duration) (string, error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		t.mu.Lock()
		rest := string(t.out[t.read:])
		if i := strings.Index(rest, mark); i >= 0 {
			t.read += i + len(mark)
			t.mu.Unlock()
			return rest[:i], nil
		}
		t.mu.Unlock()
		select {
		case <-t.news:
		case <-t.gone:
			return rest, fmt.Errorf("ended: %s", tail(rest))
		case <-late.C:
			return rest, fmt.Errorf("no %q within %v: %s", mark, limit, tail(rest))
		}
	}
}

// tail is the end of what somebody said.
func tail(s string) string {
	const most = 600
	if len(s) > most {
		s = "..." + s[len(s)-most:]
	}
	return strings.TrimSpace(s)
}

// Command has testpmd do one command and returns what it said.
func (t *Testpmd) Command(format string, args ...any) (string, error) {
	line := fmt.Sprintf(format, args...)
	if _, err := io.WriteString(t.in, line+"\n"); err != nil {
		return "", fmt.Errorf("testpmd: %s: %w", line, err)
	}
	out, err := t.prompt(10 * time.Second)
	if err != nil {
		return out, fmt.Errorf("testpmd: %s: %w", line, err)
	}
	if strings.Contains(out, "Bad arguments") || strings.Contains(out, "Command not found") {
		return out, fmt.Errorf("testpmd: %s: %s", line, tail(out))
	}
	return out, nil
}

// Saw waits until testpmd has said text, at any time.
func (t *Testpmd) Saw(text string, limit time.Duration) error { return t.SawTimes(text, 1, limit) }

// SawTimes waits until testpmd has said text so many times.
func (t *Testpmd) SawTimes(text string, times int, limit time.Duration) error {
	late := time.NewTimer(limit)
	defer late.Stop()
	for strings.Count(t.Output(), text) < times {
		select {
		case <-t.news:
		case <-t.gone:
			return fmt.Errorf("testpmd ended: %s", tail(t.Output()))
		case <-late.C:
			return fmt.Errorf("testpmd did not say %q %d times within %v: %s", text, times, limit, tail(t.Output()))
		}
	}
	return nil
}

// Pause stops the process, so that it does not poll; Resume lets it go on.
func (t *Testpmd) Pause() error  { return t.cmd.Process.Signal(syscall.SIGSTOP) }
func (t *Testpmd) Resume() error { return t.cmd.Process.Signal(syscall.SIGCONT) }

// Stats is what was counted since "start", while it goes on.
func (t *Testpmd) Stats() (Stats, error) {
	out, err := t.Command("show fwd stats all")
	if err != nil {
		return Stats{}, err
	}
	return ParseStats(out)
}

// Quit ends testpmd the ordinary way.
func (t *Testpmd) Quit() error {
	io.WriteString(t.in, "quit\n")
	t.in.Close()
	kill := time.AfterFunc(10*time.Second, func() { t.cmd.Process.Kill() })
	defer kill.Stop()
	err := t.cmd.Wait()
	<-t.gone
	if err != nil {
		return fmt.Errorf("testpmd: quit: %w: %s", err, tail(t.Output()))
	}
	return nil
}

// Kill ends testpmd at once.
func (t *Testpmd) Kill() {
	t.cmd.Process.Kill()
	t.cmd.Wait()
	<-t.gone
}
