package proto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"baton/vhost/peerfd"
)

// maxSentFDs is the most descriptors that one sendmsg(2) can bring (SCM_MAX_FD).
const maxSentFDs = 253

// controlSpace has room for all that can come. The kernel would close what does not fit
// in the middle of recvmsg(2), however long that takes: see package peerfd.
var controlSpace = unix.CmsgSpace(maxSentFDs * 4)

// Conn sends and receives vhost-user messages over a connected stream socket; a
// back end and a front end use it alike.
//
//	conc: one reader and one writer; Close and the deadlines from anywhere
type Conn struct {
	sock    *net.UnixConn
	raw     syscall.RawConn
	control []byte
	out     []byte
	busy    func(bool) // see Config.Busy; nil: nobody asks
}

// NewConn speaks vhost-user over sock, which it owns from now on.
//
//	error: sock is closed; it stays the caller's
func NewConn(sock *net.UnixConn) (*Conn, error) {
	raw, err := sock.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Conn{
		sock:    sock,
		raw:     raw,
		control: make([]byte, controlSpace),
		out:     make([]byte, 0, HeaderSize+MaxPayload),
	}, nil
}

// NewConnFromFD speaks vhost-user over the connected stream socket fd, which it
// owns from now on, also when it returns an error.
//
//	error: fd is not a Unix stream socket
func NewConnFromFD(fd int) (*Conn, error) {
	file := os.NewFile(uintptr(fd), "vhost-user")
	if file == nil {
		return nil, fmt.Errorf("vhost-user socket: %w", unix.EBADF)
	}
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("vhost-user socket: %w", err)
	}
	sock, ok := conn.(*net.UnixConn)
	if !ok || sock.LocalAddr().Network() != "unix" {
		conn.Close()
		return nil, errors.New("vhost-user socket: not a Unix stream socket")
	}
	return NewConn(sock)
}

// Close closes the socket.
func (c *Conn) Close() error { return c.sock.Close() }

// hangUp is Close for a peer that may have sent descriptors which nobody has read: they
// are closed with the last descriptor of the socket.
func (c *Conn) hangUp() peerfd.Late {
	fd, err := c.DupFD()
	if err != nil { // none is free
		c.Close()
		return nil
	}
	_ = unix.Shutdown(fd, unix.SHUT_RDWR) // the peer sees it at once
	c.Close()
	return peerfd.Close(fd)
}

// gone reports whether the peer hung up and left nothing to read.
func (c *Conn) gone() (gone bool) {
	raw, err := c.sock.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		gone = n == 0 && err == nil
	})
	return gone || err != nil
}

// DupFD is a duplicate of the connected socket: the connection lives on when the
// Conn is closed. The caller owns it.
func (c *Conn) DupFD() (int, error) {
	dup, dupErr := -1, error(nil)
	err := c.raw.Control(func(fd uintptr) {
		dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	return dup, errors.Join(err, dupErr)
}

// SetReadDeadline ends a Read that waits at t; the zero time lets it wait for ever.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.sock.SetReadDeadline(t) }

// SetWriteDeadline ends a Write that waits at t; the zero time lets it wait for ever.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.sock.SetWriteDeadline(t) }

// Read receives the next message into m, whatever m held before. It takes not a
// byte of the message after it. Descriptors come with the first byte of a header,
// close-on-exec; those that come elsewhere are closed and are an error.
//
// After an error m holds no descriptors and the stream is out of step, except
// when a deadline passed before the first byte (os.ErrDeadlineExceeded): then Read
// may be called again. wait is asked when a deadline passes inside a message: with
// true, Read goes on; with false the error is ErrPartial. nil stands for false.
//
//	error: io.EOF (peer closed between messages), ErrPartial, ErrVersion, ErrTooLong,
//	       ErrStrayFDs, ErrTooManyFDs, or the socket's
func (c *Conn) Read(m *Message, wait func() bool) error {
	m.Header, m.Payload, m.FDs = Header{}, nil, m.fds[:0]
	n, err := c.readHead(m)
	if err != nil {
		return err
	}
	if err := c.fill(m, m.space[n:HeaderSize], wait); err != nil {
		m.CloseFDs()
		return err
	}
	h, err := DecodeHeader(m.space[:HeaderSize])
	if err == nil {
		err = c.fill(m, m.space[:h.Size], wait)
	}
	if err != nil {
		m.CloseFDs()
		return err
	}
	m.Header, m.Payload = h, m.space[:h.Size]
	return nil
}

// tell tells whether a message has been taken, or may have been, that is not dealt with.
func (c *Conn) tell(busy bool) {
	if c.busy != nil {
		c.busy(busy)
	}
}

// readHead receives the first bytes of a header and the message's descriptors.
func (c *Conn) readHead(m *Message) (int, error) {
	n, oobn, err := c.recvmsg(m.space[:HeaderSize], c.control, c.tell)
	if err != nil {
		return 0, err
	}
	if err := m.takeControl(c.control[:oobn]); err != nil {
		return 0, err
	}
	if n == 0 {
		m.CloseFDs()
		return 0, io.EOF
	}
	return n, nil
}

// fill receives len(p) more bytes of message m, which has begun.
func (c *Conn) fill(m *Message, p []byte, wait func() bool) error {
	for len(p) > 0 {
		n, oobn, err := c.recvmsg(p, c.control, func(bool) {})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if wait != nil && wait() {
				continue
			}
			return ErrPartial
		case err != nil:
			return err
		case oobn > 0:
			return errors.Join(ErrStrayFDs, m.takeControl(c.control[:oobn]))
		case n == 0:
			return ErrPartial
		}
		p = p[n:]
	}
	return nil
}

// recvmsg receives what there is, and tells before each try that something may be taken, and after
// one that took nothing.
func (c *Conn) recvmsg(p, control []byte, tell func(bool)) (n, oobn int, err error) {
	readErr := c.raw.Read(func(fd uintptr) bool {
		for {
			tell(true)
			n, oobn, _, _, err = unix.Recvmsg(int(fd), p, control, unix.MSG_CMSG_CLOEXEC)
			if err == unix.EAGAIN {
				tell(false)
				return false
			}
			if err != unix.EINTR {
				return true
			}
		}
	})
	if readErr != nil {
		return 0, 0, readErr
	}
	return n, oobn, err
}

// takeControl moves the descriptors in the control data b into m.
//
//	error: control data that is no list of descriptors; ErrTooManyFDs; all are closed
func (m *Message) takeControl(b []byte) error {
	for len(b) > 0 {
		hdr, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			m.CloseFDs()
			return fmt.Errorf("control data: %w", err)
		}
		b = rest
		if hdr.Level != unix.SOL_SOCKET || hdr.Type != unix.SCM_RIGHTS {
			continue
		}
		for ; len(data) >= 4; data = data[4:] {
			fd := int(int32(binary.NativeEndian.Uint32(data)))
			m.FDs = append(m.FDs, fd)
		}
	}
	if len(m.FDs) > MaxFDs {
		m.CloseFDs()
		return ErrTooManyFDs
	}
	return nil
}

// Write sends one message in one call, so that a peer that uses plain recv gets
// it whole. The descriptors go with its first byte and stay the caller's.
//
//	error: payload longer than MaxPayload, more than MaxFDs descriptors, or the socket's
func (c *Conn) Write(h Header, payload []byte, fds ...int) error {
	if len(payload) > MaxPayload || len(fds) > MaxFDs {
		return fmt.Errorf("%s: %d bytes of payload and %d descriptors are more than %d and %d",
			h.Request, len(payload), len(fds), MaxPayload, MaxFDs)
	}
	h.Size = uint32(len(payload))
	c.out = append(AppendHeader(c.out[:0], h), payload...)
	return c.WriteRaw(c.out, fds...)
}

// WriteRaw sends bytes as they are, with any number of descriptors: what a test
// needs to send a message that is none.
//
//	error: the socket's; io.ErrShortWrite if the kernel took only a part
func (c *Conn) WriteRaw(p []byte, fds ...int) error {
	var control []byte
	if len(fds) > 0 {
		control = unix.UnixRights(fds...)
	}
	n, err := 0, error(nil)
	writeErr := c.raw.Write(func(fd uintptr) bool {
		for {
			n, err = unix.SendmsgN(int(fd), p, control, nil, unix.MSG_NOSIGNAL)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	switch {
	case writeErr != nil:
		return writeErr
	case err != nil:
		return err
	case n != len(p):
		return io.ErrShortWrite
	}
	return nil
}
