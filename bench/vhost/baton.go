package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
)

// batonBackend is this program once more, as "backend" (child.go): a line a command, a
// line of JSON an answer.
type batonBackend struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	tid int
}

func startBaton(o options, path string) (backend, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &batonBackend{cmd: exec.Command(self, "backend", "--socket", path, "--cpu", strconv.Itoa(o.backCPU),
		"--huge="+strconv.FormatBool(o.huge), "--profile", o.profile)}
	b.cmd.Stderr = os.Stderr
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b.out = bufio.NewReader(out)
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	r, err := b.answer()
	if err != nil {
		b.cmd.Process.Kill()
		b.cmd.Wait()
		return nil, err
	}
	b.tid = r.Poller
	return b, nil
}

// answer is the next line of the child's.
func (b *batonBackend) answer() (r reply, err error) {
	line, err := b.out.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("baton's back end ended: %w", err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("baton's back end: %q: %w", line, err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("baton's back end: %s", r.Error)
	}
	return r, nil
}

func (b *batonBackend) command(format string, args ...any) (reply, error) {
	if _, err := fmt.Fprintf(b.in, format+"\n", args...); err != nil {
		return reply{}, fmt.Errorf("baton's back end: %w", err)
	}
	return b.answer()
}

func (b *batonBackend) pid() int    { return b.cmd.Process.Pid }
func (b *batonBackend) poller() int { return b.tid }

func (b *batonBackend) joined() error {
	_, err := b.command("joined")
	return err
}

func (b *batonBackend) start(d direction, size int) error {
	_, err := b.command("start %s %d", d, size)
	return err
}

func (b *batonBackend) stop() (counts, error) {
	r, err := b.command("stop")
	return r.counts, err
}

func (b *batonBackend) close() error {
	b.in.Close()
	return b.cmd.Wait()
}
