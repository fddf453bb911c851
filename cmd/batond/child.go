package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
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
func (h *host) startChild(binary, flag string) (*child, error) {
	if err := keepFDs(); err != nil {
		return nil, err
	}
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
	if err := h.cpus.start(p.cmd.Start); err != nil {
		conn.Close()
		return nil, fmt.Errorf("binary %s: %w", binary, err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // what it died of, it has logged
	}()
	return p, nil
}

// keepFDs has no process that this one starts inherit descriptors: DPDK's are open to that by
// default, and who has them keeps the huge pages and the device of a process that is gone.
func keepFDs() error {
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close_range: %w: an upgrade and a standby need Linux 5.11 or newer", err)
	}
	return nil
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
func (p *child) offer(ctx context.Context, s *settings) (string, error) {
	stop := context.AfterFunc(ctx, func() { p.kill(false) })
	defer stop()
	_ = p.conn.SetDeadline(time.Now().Add(offerLimit)) // an open socket takes it
	to, err := p.conn.Offer(offer(s))
	if err == nil {
		return to, nil
	}
	p.kill(false)
	p.conn.Close()
	return to, p.because(ctx, err)
}

// because is what an error of the offer means, for people. The process is gone.
func (p *child) because(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("it has not answered within %v: it is no batond, or hangs; what it printed is in the log", offerLimit)
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		err = fmt.Errorf("it ended (%v) before it answered: the log has its last lines", p.cmd.ProcessState)
	}
	return fmt.Errorf("binary %s: %w", p.cmd.Path, err)
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

// inherited is the socket that a process got by its flag, and a descriptor of the process that
// started it.
//
//	error: there is none; that process is gone
func inherited(flag string, fd int) (_ *wire.Conn, parent int, err error) {
	f := os.NewFile(uintptr(fd), "inherited")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, -1, fmt.Errorf("%s%d: %w: batond sets this itself", flag, fd, err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, -1, fmt.Errorf("%s%d: no unix socket: batond sets this itself", flag, fd)
	}
	if parent, err = parentOf(u); err != nil {
		c.Close()
		return nil, -1, err
	}
	conn, err := wire.NewConn(u)
	return conn, parent, err
}

// parentOf is a descriptor of the process that made a socket and started this one.
//
//	error: it is gone; then another one counts as this one's parent
func parentOf(u *net.UnixConn) (fd int, err error) {
	raw, err := u.SyscallConn()
	if err != nil {
		return -1, err
	}
	var made *unix.Ucred
	bad := raw.Control(func(fd uintptr) { made, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(bad, err); err != nil {
		return -1, fmt.Errorf("the process that started this one: %w", err)
	}
	pid := os.Getppid()
	if fd, err = unix.PidfdOpen(pid, 0); err != nil {
		return -1, fmt.Errorf("the process that started this one: %w", err)
	}
	if int(made.Pid) != pid || os.Getppid() != pid {
		unix.Close(fd)
		return -1, errors.New("the process that started this one is gone")
	}
	return fd, nil
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
