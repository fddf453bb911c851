package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is one end of a hand-over.
//
//	conc: one goroutine
type Conn struct {
	c       *net.UnixConn
	buf     []byte
	control []byte
}

// NewConn speaks over c, a Unix socket of packets (unixpacket), which it owns.
//
//	error: a socket of another type
func NewConn(c *net.UnixConn) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	kind, bad := 0, error(nil)
	if err := raw.Control(func(fd uintptr) { kind, bad = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE) }); err != nil || bad != nil {
		return nil, fmt.Errorf("wire: %w", errors.Join(err, bad))
	}
	if kind != unix.SOCK_SEQPACKET {
		return nil, errors.New("wire: not a socket of packets (unixpacket)")
	}
	return &Conn{c: c, buf: make([]byte, maxFrame), control: make([]byte, unix.CmsgSpace(maxRights*4))}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.c.Close() }

// SetDeadline is the time until which all that follows must be done; the zero time: none.
func (c *Conn) SetDeadline(t time.Time) error { return c.c.SetDeadline(t) }

// Send gives a section. Its descriptors stay the caller's: the peer gets copies.
//
//	error: a section beyond the limits, of which nothing was sent; the connection's
func (c *Conn) Send(s Section) error {
	if len(s.Payload) > MaxPayload || len(s.Files) > MaxFiles {
		return fmt.Errorf("wire: %v: %d bytes and %d descriptors: want at most %d and %d", s.Tag, len(s.Payload), len(s.Files), MaxPayload, MaxFiles)
	}
	head, payload, files := s.first(), s.Payload, s.Files
	for first := true; first || len(payload) > 0 || len(files) > 0; first = false {
		n := min(len(payload), maxFrame-len(head))
		k := min(len(files), maxRights)
		var rights []byte
		if k > 0 {
			rights = unix.UnixRights(files[:k]...)
		}
		if _, _, err := c.c.WriteMsgUnix(append(head, payload[:n]...), rights, nil); err != nil {
			return fmt.Errorf("wire: send %v: %w", s.Tag, err)
		}
		payload, files = payload[n:], files[k:]
		head = append(head[:0], frameMore)
	}
	return nil
}

// Await waits until there is something to Receive, the end of the connection too, and takes nothing
// of it: a deadline that passes in Receive may leave half a section taken.
//
//	error: the deadline's; the connection's
func (c *Conn) Await() error {
	raw, err := c.c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		for {
			_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
}

// Receive takes the next section, whose descriptors are the caller's from then on.
//
//	error: io.EOF, if the peer closed between two sections; ErrFormat; the connection's.
//	Then no descriptor is left open
func (c *Conn) Receive() (s Section, err error) {
	defer func() {
		if err != nil {
			s.Close()
			s = Section{}
		}
	}()
	b, err := c.frame(&s.Files)
	if err != nil {
		return s, err
	}
	var want size
	var rest []byte
	if s.Tag, want, rest, err = parseFirst(b); err != nil {
		return s, err
	}
	// No more memory than has come, whatever is promised.
	s.Payload = append([]byte(nil), rest...)
	for len(s.Payload) < want.payload || len(s.Files) < want.files {
		before := len(s.Payload) + len(s.Files)
		if b, err = c.frame(&s.Files); err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			rest, err = parseMore(b)
		}
		if err != nil {
			return s, fmt.Errorf("wire: %v: %w", s.Tag, err)
		}
		s.Payload = append(s.Payload, rest...)
		if len(s.Payload)+len(s.Files) == before || len(s.Payload) > want.payload || len(s.Files) > want.files {
			break // no more will make it right
		}
	}
	if len(s.Payload) != want.payload || len(s.Files) != want.files {
		return s, fmt.Errorf("wire: %v: %w: %d bytes and %d descriptors came, %d and %d were promised", s.Tag, ErrFormat,
			len(s.Payload), len(s.Files), want.payload, want.files)
	}
	return s, nil
}

// Close closes the section's descriptors.
func (s *Section) Close() {
	for _, fd := range s.Files {
		unix.Close(fd)
	}
	s.Files = nil
}

// frame reads a frame and appends its descriptors to files, also if there is an error.
//
//	out: valid until the next call
//	error: io.EOF; ErrFormat, for what does not fit; the connection's
func (c *Conn) frame(files *[]int) ([]byte, error) {
	n, oobn, flags, _, err := c.c.ReadMsgUnix(c.buf, c.control)
	if oobn > 0 {
		if err := rights(c.control[:oobn], files); err != nil {
			return nil, err
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, err
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return nil, fmt.Errorf("%w: too large", ErrFormat)
	case n == 0:
		return nil, io.EOF
	}
	return c.buf[:n], nil
}

// rights appends the descriptors of control messages to files.
func rights(control []byte, files *[]int) error {
	msgs, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrFormat, err)
	}
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			return fmt.Errorf("%w: %v", ErrFormat, err)
		}
		*files = append(*files, fds...)
	}
	return nil
}
