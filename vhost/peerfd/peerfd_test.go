package peerfd_test

import (
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"baton/vhost/peerfd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// must is fd, unless there was an error.
func must(t *testing.T, fd int, err error) int {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestClose: descriptors of all kinds are closed when Close returns, if nobody holds
// that up.
func TestClose(t *testing.T) {
	peerfd.Close(-1)
	ev, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	must(t, ev, err)
	mem, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	must(t, mem, err)
	disk, err := unix.Open(t.TempDir(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, disk, err)
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, null, err)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, pair[0], err)
	for _, tt := range []struct {
		fd              int
		event, inMemory bool
	}{{ev, true, false}, {mem, false, true}, {disk, false, false}, {null, false, false}, {pair[0], false, false}, {pair[1], false, false}} {
		if peerfd.IsEventFD(tt.fd) != tt.event || tt.fd != disk && peerfd.InMemory(tt.fd) != tt.inMemory { // disk may be a tmpfs
			t.Errorf("descriptor %d is an eventfd: %v, in memory: %v", tt.fd, peerfd.IsEventFD(tt.fd), peerfd.InMemory(tt.fd))
		}
		if peerfd.Close(tt.fd); isOpen(tt.fd) {
			t.Errorf("descriptor %d is open still", tt.fd)
		}
	}
}

// TestStuckClose: a socket that lingers holds up its own close, and nobody who wants
// to go on.
func TestStuckClose(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	must(t, fd, err)
	file.Close()
	_ = unix.SetNonblock(fd, true)
	for n := 0; n >= 0; n, err = unix.Write(fd, make([]byte, 1<<16)) { // until the peer must read
		if err != nil {
			break
		}
	}
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 60}); err != nil {
		t.Fatal(err)
	}
	returned := make(chan struct{})
	go func() { defer close(returned); peerfd.Close(fd) }()
	select {
	case <-returned:
	case <-time.After(20 * time.Second):
		t.Error("Close waits for the peer")
	}
	peer.Close() // ends the lingering, so that the goroutine ends: goleak looks
	<-returned
}
