// Package peerfd closes descriptors that came from a peer, who chose what they are.
//
// close(2) waits for the file system's flush: of a file on FUSE for a process of the
// peer's, of a TCP socket for as long as the peer told it to linger. Whoever closed
// such a descriptor while he holds a lock would hold up all who want that lock. So
// kinds that a front end has reason to send (eventfds, files in memory, Unix sockets)
// are closed at once, and others by a goroutine of their own, for which the caller
// waits a moment only.
//
// Invariants: every descriptor is closed once, though it may be later; there are at
// most maxStuck goroutines, then whoever closes one more waits for one to end.
// Callers: sessions and devices, from any goroutine; never a worker.
package peerfd

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// maxStuck bounds the closing goroutines: each holds a thread while it waits. An
// honest front end needs none.
const maxStuck = 64

// patience is how long Close waits for a close(2): one that a peer does not hold up
// has long ended.
const patience = 100 * time.Millisecond

var slots = make(chan struct{}, maxStuck)

// Close closes fd; fd < 0 is none.
func Close(fd int) {
	if fd < 0 {
		return
	}
	if IsEventFD(fd) || InMemory(fd) || isUnixSocket(fd) {
		_ = unix.Close(fd)
		return
	}
	slots <- struct{}{}
	done := make(chan struct{})
	go func() {
		_ = unix.Close(fd)
		<-slots
		close(done)
	}()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

// IsEventFD tells whether fd is an eventfd, without asking whatever file it is of.
func IsEventFD(fd int) bool {
	name, err := Name(fd)
	return err == nil && name == "anon_inode:[eventfd]"
}

// Name is what /proc calls fd: a path, or the kind of a descriptor that has none.
// Paths begin with a slash, so that no file is named as such a kind.
func Name(fd int) (string, error) {
	name := make([]byte, 64)
	n, err := unix.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd), name)
	if err != nil {
		return "", err
	}
	return string(name[:n]), nil
}

// InMemory tells whether fd is a file of tmpfs (memfd and shared memory are) or
// hugetlbfs: only these have seals. fstat(2) and fstatfs(2) of another may wait for
// the process behind its file system.
func InMemory(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	return err == nil
}

func isUnixSocket(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_UNIX
}
