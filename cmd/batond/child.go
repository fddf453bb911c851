package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"baton/upgrade/wire"
)

// child is another batond that this one started, with a socket to it.
type child struct {
	conn   *wire.Conn
	cmd    *exec.Cmd
	exited chan struct{}
}

// startChild starts binary with this process' own command line and flag, to which the
// number of its end of the socket is added.
//
//	error: names the binary
func startChild(binary, flag string) (*child, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, its := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "its")
	defer ours.Close()
	defer its.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	conn, err := wire.NewConn(c.(*net.UnixConn))
	if err != nil {
		c.Close()
		return nil, err
	}
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool {
		return strings.HasPrefix(a, takeoverFlag) || strings.HasPrefix(a, standbyFlag)
	})
	p := &child{conn: conn, exited: make(chan struct{})}
	p.cmd = exec.Command(binary, append(args, flag+"3")...)
	p.cmd.ExtraFiles = []*os.File{its} // 3
	p.cmd.Stdout, p.cmd.Stderr = os.Stdout, os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what ends this one's group is not meant for it
	if err := p.cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("binary %s: %w", binary, err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // what it died of, it has logged
	}()
	return p, nil
}

// The flags by which a process is told its part.
const (
	takeoverFlag = "--takeover="
	standbyFlag  = "--standby-of="
)

// offer offers what this program gives.
//
//	out: the other program
//	error: it does not answer or does not take it, or ctx ends; then it is gone
func (p *child) offer(ctx context.Context) (string, error) {
	stop := context.AfterFunc(ctx, func() { p.kill(false) })
	defer stop()
	_ = p.conn.SetDeadline(time.Now().Add(offerLimit)) // an open socket takes it
	to, err := p.conn.Offer(offer())
	if err == nil {
		return to, nil
	}
	p.kill(false)
	p.conn.Close()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("it ended (%v) before it answered: the log has its last lines", p.cmd.ProcessState)
	}
	return to, fmt.Errorf("binary %s: %w", p.cmd.Path, err)
}

const (
	// offerLimit is how long another batond may take to start and answer.
	offerLimit = 10 * time.Second
	// politeEnd is how long one that answers may take to end.
	politeEnd = 5 * time.Second
)

// kill ends the process and returns when it is gone; a polite one ends by itself.
func (p *child) kill(polite bool) {
	if polite {
		select {
		case <-p.exited:
			return
		case <-time.After(politeEnd):
		}
	}
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

// inherited is the socket that a process got by its flag.
//
//	error: there is none
func inherited(flag string, fd int) (*wire.Conn, error) {
	f := os.NewFile(uintptr(fd), "inherited")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("%s%d: %w: batond sets this itself", flag, fd, err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%s%d: no unix socket: batond sets this itself", flag, fd)
	}
	return wire.NewConn(u)
}

// rawFD is f's descriptor, valid while f is open. Unlike os.File.Fd it leaves the mode of
// what f shares with others alone: a listener that does not block stays so.
func rawFD(f *os.File) (fd int) {
	fd = -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(is uintptr) { fd = int(is) })
	}
	return fd
}

// ownBinary is the file that this process was started from, or what has replaced it there, as a
// package does.
func ownBinary() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("this program's own file is not known: %w", err)
	}
	return strings.TrimSuffix(path, " (deleted)"), nil
}
