package peerfd_test

import (
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"baton/vhost/peerfd"
	"baton/vhost/peerfd/peerfdtest"
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

// TestStuckClose: a socket that lingers, or is in the queue of one that is closed, holds
// up its own close and nobody else's, however many there are.
func TestStuckClose(t *testing.T) {
	const num = 80
	var lates [num]peerfd.Late
	var frees [num]func()
	var wg sync.WaitGroup
	for i := range num {
		stuck := peerfdtest.Stuck
		if i%2 == 1 {
			stuck = peerfdtest.StuckUnix
		}
		var fd int
		fd, frees[i] = stuck(t)
		wg.Go(func() { lates[i] = peerfd.Close(fd, -1) })
	}
	wg.Wait()
	for _, late := range lates {
		if !late.Pending() {
			t.Fatal("a socket that lingers is closed at once")
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, pair[0], err)
	ev, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	must(t, ev, err)
	if late := peerfd.Close(pair[0], ev, pair[1]); late.Pending() || isOpen(pair[0]) || isOpen(ev) || isOpen(pair[1]) {
		t.Error("others are held up")
	}
	for i, free := range frees {
		free()
		<-lates[i]
		if lates[i].Pending() {
			t.Error("pending when closed")
		}
	}
}

func TestIsUnixSocket(t *testing.T) {
	for kind, stream := range map[int]bool{unix.SOCK_STREAM: true, unix.SOCK_DGRAM: false, unix.SOCK_SEQPACKET: false} {
		fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		must(t, fd, err)
		if is, s := peerfd.IsUnixSocket(fd); !is || s != stream {
			t.Errorf("Unix socket of type %d: %v, stream %v", kind, is, s)
		}
		unix.Close(fd)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, fd, err)
	if is, _ := peerfd.IsUnixSocket(fd); is {
		t.Error("an Internet socket is a Unix one")
	}
	unix.Close(fd)
}
