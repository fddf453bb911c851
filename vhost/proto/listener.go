package proto

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"baton/vhost/peerfd"
)

// listener is a server's socket with the file that belongs to it.
type listener struct {
	sock *net.UnixListener
	path string

	mu     sync.Mutex
	closed bool
	keep   bool // leave the file to another process
}

// newListener listens on path. A socket file that nobody listens on any more is
// replaced; everything else that is in the way is an error and stays.
func newListener(path string, mode fs.FileMode) (*listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// bind gives the file the socket's mode: with it set first, the file is at no
	// time open to more than it should be. What umask takes away, chmod gives back.
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var chmodErr error
		err := raw.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), uint32(mode.Perm())) })
		return errors.Join(err, chmodErr)
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, ErrBusy // somebody was quicker
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", cause(err))
	}
	sock := l.(*net.UnixListener)
	if err := os.Chmod(path, mode.Perm()); err != nil {
		sock.Close()
		return nil, fmt.Errorf("set mode: %w", cause(err))
	}
	return &listener{sock: sock, path: path}, nil
}

// removeStale removes the socket file at path if nobody listens on it.
//
//	error: ErrBusy; path is something else than a socket; what the file system says
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return cause(err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is no socket is in the way: move it or choose another path")
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return ErrBusy
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EPROTOTYPE):
		return ErrBusy // its queue is full, or it is no stream socket
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("see whether anybody listens: %w", cause(err))
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the stale socket file: %w", cause(err))
	}
	return nil
}

// cause takes off the wrapping that repeats the path.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// accept waits for the next front end.
func (l *listener) accept() (*net.UnixConn, error) { return l.sock.AcceptUnix() }

// keepFile says whether close leaves the socket file.
func (l *listener) keepFile(keep bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep = keep
}

// close ends accept and removes the socket file. It may be called again.
func (l *listener) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	l.sock.SetUnlinkOnClose(!l.keep)
	// What waits to be accepted is closed with the last descriptor of the socket, and what
	// was sent there with it.
	dup := -1
	if raw, err := l.sock.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { dup, _ = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	}
	if dup >= 0 {
		_ = unix.Shutdown(dup, unix.SHUT_RDWR) // nobody connects any more
	}
	l.sock.Close()
	peerfd.Close(dup)
}

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}
