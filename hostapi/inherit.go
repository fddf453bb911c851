package hostapi

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ServeOn answers on a listener until Close or Leave, also on one that another process made
// and Listener is a duplicate of. The listener is the server's own from now on, and so is
// the socket's file, which Close removes.
func ServeOn(l *net.UnixListener, src Source) *Server {
	l.SetUnlinkOnClose(true) // a listener made of a descriptor would leave the file
	s := &Server{l: l, done: make(chan struct{})}
	s.http = &http.Server{Handler: handler(src), ReadHeaderTimeout: 5 * time.Second, ConnState: s.count}
	s.http.SetKeepAlivesEnabled(false) // who waits for its next answer would wait in the wrong process
	go func() {
		defer close(s.done)
		s.http.Serve(l)
	}()
	return s
}

// count follows a connection.
func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed:
		s.open.Done()
	}
}

// Listener is a duplicate of the listening socket for the next process, which makes a
// listener of it by net.FileListener. The file is the caller's own.
//
//	error: the server is closed; too many open files
func (s *Server) Listener() (*os.File, error) {
	raw, err := s.l.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("socket %s: duplicate: %w", s.l.Addr(), err)
	}
	// Not net.UnixListener.File: the Fd method of what that returns makes the socket a blocking
	// one, for this process too, whose Close would then wait for a connection.
	fd := -1
	bad := raw.Control(func(l uintptr) { fd, err = unix.FcntlInt(l, unix.F_DUPFD_CLOEXEC, 0) })
	if bad != nil {
		err = bad
	}
	if err != nil {
		return nil, fmt.Errorf("socket %s: duplicate: %w", s.l.Addr(), err)
	}
	return os.NewFile(uintptr(fd), s.l.Addr().String()), nil
}

// Leave is Close for a server with a successor: the socket's file stays. Connections that
// nobody has taken wait in the socket's queue for the next process, as long as a duplicate
// of the socket is open.
func (s *Server) Leave() error {
	s.l.SetUnlinkOnClose(false)
	return s.Close()
}
