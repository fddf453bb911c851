package worker

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"baton/dataplane/port"
)

// waker is what a worker sleeps on: an epoll set with the ports' descriptors and
// an eventfd for other workers and the control side. All are edge-triggered, so
// that nobody has to drain anything.
type waker struct {
	epfd, evfd int
	coarse     atomic.Bool // the kernel has no epoll_pwait2 (before 5.11): sleeps are whole milliseconds
}

var _ port.Waker = (*waker)(nil)

func newWaker() (*waker, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	evfd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	k := &waker{epfd: epfd, evfd: evfd}
	if err := k.watch(evfd); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *waker) watch(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | uint32(unix.EPOLLET&0xffffffff), Fd: int32(fd)}
	if err := unix.EpollCtl(k.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl: watch descriptor %d: %w", fd, err)
	}
	return nil
}

// Add implements port.Waker. The worker is woken as well: it may have armed the
// queue in a state that the new descriptor ends.
func (k *waker) Add(fd int) error {
	if err := k.watch(fd); err != nil {
		return err
	}
	k.wake()
	return nil
}

// Remove implements port.Waker.
func (k *waker) Remove(fd int) {
	// The descriptor may be gone already: then nothing is watched, which is what is wanted.
	_ = unix.EpollCtl(k.epfd, unix.EPOLL_CTL_DEL, fd, nil)
}

var one = [8]byte{1} // a count of 1 in the byte order of every platform baton runs on

// wake ends the worker's sleep, or the next one if it is not asleep.
//
//	conc: safe from any goroutine    alloc: 0
func (k *waker) wake() {
	// EAGAIN means that 2^64-2 wake-ups are pending: then this one is too.
	_, _ = unix.Write(k.evfd, one[:])
}

// wait sleeps until a descriptor has something, or for limit; limit < 0 is for ever.
// It reports whether a descriptor had something.
//
//	alloc: 0
func (k *waker) wait(limit time.Duration) bool {
	var ev [16]unix.EpollEvent
	if limit < 0 || k.coarse.Load() {
		ms := -1
		if limit >= 0 {
			ms = int((limit + time.Millisecond - 1) / time.Millisecond)
		}
		n, _ := unix.EpollWait(k.epfd, ev[:], ms) // EINTR is a wake-up too many at the worst
		return n > 0
	}
	ts := unix.NsecToTimespec(int64(limit))
	// SAFETY: ev and ts live until the call returns; the kernel writes at most len(ev) events.
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(k.epfd), uintptr(unsafe.Pointer(&ev[0])),
		uintptr(len(ev)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	return k.woken(n, errno)
}

// woken is what epoll_pwait2 says.
func (k *waker) woken(n uintptr, errno unix.Errno) bool {
	if errno == unix.ENOSYS {
		k.coarse.Store(true)
	}
	return errno == 0 && n > 0
}

// nap is wait for a goroutine that keeps its Go processor meanwhile: to the scheduler it runs. Who gives it
// away finds it with somebody else, and then waits behind what the control side has to do, for tens of
// milliseconds where that keeps all others busy. So naps are short: stopping the world, and all else
// that needs the goroutine at a safe point, ends them by a signal. It waits until the thread has its CPU
// then, as for a worker that polls.
//
//	alloc: 0
func (k *waker) nap(limit time.Duration) bool {
	if k.coarse.Load() {
		return k.wait(limit)
	}
	var ev [16]unix.EpollEvent
	ts := unix.NsecToTimespec(int64(limit))
	// SAFETY: as wait; the call is another one, as the scheduler is told of wait's.
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(k.epfd), uintptr(unsafe.Pointer(&ev[0])),
		uintptr(len(ev)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	return k.woken(n, errno)
}

func (k *waker) close() {
	unix.Close(k.evfd)
	unix.Close(k.epfd)
}
