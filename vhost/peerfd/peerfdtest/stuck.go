// Package peerfdtest makes descriptors that hold up whoever closes them last, for tests.
package peerfdtest

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Stuck is a TCP socket that lingers for a minute on what its peer does not read, so that
// its last close(2) does. The caller owns it. free ends the lingering; the test's end
// does too.
func Stuck(t testing.TB) (fd int, free func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// The peer has room for less than the socket holds, whenever it is that the kernel moves it there: what
	// is under way never fits.
	small := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		bad := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<12) })
		return errors.Join(err, bad)
	}}
	l, err := small.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(err)
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	must(err)
	peer, err := l.Accept()
	must(err)
	must(conn.(*net.TCPConn).SetWriteBuffer(1 << 17))
	free = sync.OnceFunc(func() { peer.Close() }) // unread data is answered by a reset
	t.Cleanup(free)
	fd = dup(t, conn.(*net.TCPConn))
	conn.Close()
	for err = nil; err == nil; {
		_, err = unix.Write(fd, make([]byte, 1<<16)) // until the peer must read
	}
	if err != unix.EAGAIN {
		t.Fatal(err)
	}
	must(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 60}))
	return fd, free
}

// dup is a duplicate that Go's poller knows nothing of, non-blocking.
func dup(t testing.TB, c interface{ File() (*os.File, error) }) int {
	t.Helper()
	f, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	return fd
}

// StuckUnix is a Unix stream socket to which a Stuck one was sent: its last close holds
// up as long. The caller owns it.
func StuckUnix(t testing.TB) (fd int, free func()) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	inner, free := Stuck(t)
	defer unix.Close(inner) // not the last one
	if err := unix.Sendmsg(pair[1], []byte{0}, unix.UnixRights(inner), nil, 0); err != nil {
		t.Fatal(err)
	}
	return pair[0], free
}
