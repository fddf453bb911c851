// Package peerfd closes descriptors that came from a peer, who chose what they are.
//
// close(2) waits for the file system's flush: of a file on FUSE for a process of the
// peer's, of a TCP socket for as long as the peer told it to linger. The last close of a
// Unix socket closes what was sent to it and not read. Whoever closed such a descriptor
// while he holds a lock would hold up all who want that lock. So eventfds and files in
// memory, whose close waits for nobody, are closed at once, and all others by a
// goroutine of their own, for which the caller waits a moment only.
//
// Invariants: every descriptor is closed once, though it may be later; nobody waits
// longer than patience, whatever his peer or another does; a peer that a caller takes
// nothing more from while something of it is late holds one goroutine and its thread.
// Callers: sessions and devices, from any goroutine; never a worker, and with a lock only
// for what is Prompt.
package peerfd

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long Close waits for close(2): one that a peer does not hold up has
// long ended.
const patience = 100 * time.Millisecond

// Late is closed when descriptors are that took their time; nil if none did.
type Late <-chan struct{}

// Pending tells whether descriptors are still not closed.
func (l Late) Pending() bool {
	select {
	case <-l:
		return false
	default:
		return l != nil
	}
}

// Close closes fds; one below 0 is none. What a peer holds up is closed later: as long as
// the result is pending, the caller takes no more descriptors from that peer.
func Close(fds ...int) Late {
	var slow []int
	for _, fd := range fds {
		switch {
		case fd < 0:
		case Prompt(fd):
			_ = unix.Close(fd)
		default:
			slow = append(slow, fd)
		}
	}
	if slow == nil {
		return nil
	}
	done := make(chan struct{})
	go runClosing(slow, done)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return done
	}
}

// runClosing closes fds, one after another.
func runClosing(fds []int, done chan<- struct{}) {
	defer close(done)
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// Prompt tells whether fd is of a kind whose close waits for nobody: an eventfd or a file
// in memory, all that a front end has reason to send beside a Unix socket.
func Prompt(fd int) bool { return IsEventFD(fd) || InMemory(fd) }

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

// IsUnixSocket tells whether fd is a Unix socket; stream whether of the kind that is a
// stream of bytes.
func IsUnixSocket(fd int) (is, stream bool) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_UNIX {
		return false, false
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return true, err == nil && kind == unix.SOCK_STREAM
}
