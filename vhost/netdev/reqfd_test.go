package netdev_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"baton/vhost/peerfd/peerfdtest"
	"baton/vhost/proto"
)

// 21: the channel for requests of ours is a Unix stream socket; anything else is refused
// by name and stays the session's.
func TestBackendReqFD(t *testing.T) {
	g := newRig(t, nil)
	fd := func(fd int, err error) int { g.ok(err); return fd }
	var p [2]int
	g.ok(unix.Pipe2(p[:], unix.O_CLOEXEC))
	defer unix.Close(p[1])
	for want, fd := range map[string]int{
		"pipe:[":                  p[0],
		"anon_inode:[eventfd]":    g.eventFD(),
		"socket:[":                fd(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)),
		"datagrams or packets":    fd(unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)),
		"but one of datagrams or": fd(unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)),
	} {
		err := g.dev.SetBackendReqFD(fd)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "vhost vm1: set backend request fd: the descriptor is not a Unix stream socket") {
			t.Errorf("%q: %v", want, err)
		}
		g.ok(unix.Close(fd)) // ours still
	}
	before := openFDs(t)
	for range 3 { // each replaces the one before
		g.ok(g.dev.SetBackendReqFD(fd(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))))
		if n := openFDs(t); n != before+1 {
			t.Errorf("%d descriptors more", n-before)
		}
	}
	g.dev.Disconnected()
	if n := openFDs(t); n != before {
		t.Errorf("%d descriptors more", n-before)
	}
}

// A socket whose close waits for what was sent to it is closed while nobody holds the
// device; and until then no other is taken.
func TestBackendReqFDHeldUp(t *testing.T) {
	g := newRig(t, nil)
	g.connect(modern)
	trap, free := peerfdtest.StuckUnix(t)
	g.ok(g.dev.SetBackendReqFD(trap))
	good := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		g.ok(err)
		return fd
	}
	replaced := make(chan error)
	next, other := good(), good()
	go func() { replaced <- g.dev.SetBackendReqFD(next) }()
	g.passes()
	g.ok(<-replaced) // though the former one is not closed
	if s := g.dev.Snapshot(); s.Busy {
		t.Error("the device is locked")
	}
	if err := g.dev.SetBackendReqFD(other); !errors.Is(err, proto.ErrHeldUp) {
		t.Errorf("another one meanwhile: %v", err)
	}
	free()
	eventually(t, "it is closed", func() bool { return g.dev.SetBackendReqFD(other) == nil })
	g.passes()

	trap, free = peerfdtest.StuckUnix(t)
	g.ok(g.dev.SetBackendReqFD(trap))
	g.dev.Disconnected() // does not wait for it either
	if s := g.dev.Snapshot(); s.Busy || s.Connected {
		t.Errorf("the device is busy %v, connected %v", s.Busy, s.Connected)
	}
	free()
}
