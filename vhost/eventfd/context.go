package eventfd

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// iocb is struct iocb of linux/aio_abi.h on a little-endian host.
type iocb struct {
	_      uint64 // data
	_, _   uint32 // key, rw_flags
	opcode uint16
	_      int16 // reqprio
	fd     uint32
	buf    uint64 // of a poll: the events
	_      uint64 // nbytes
	_      int64  // offset
	_      uint64 // reserved2
	flags  uint32
	resFD  uint32
}

// ring is struct aio_ring of the kernel's fs/aio.c: what a context id points to. It
// is part of the kernel's interface (libaio reaps events in it too); magic and
// incompat say that it is this one.
type ring struct {
	_, _       uint32 // id, nr
	head, tail uint32
	magic      uint32
	_, incomp  uint32 // compat_features, incompat_features
	_          uint32 // header_length
}

const (
	ringMagic   = 0xa10a10a1
	cmdPoll     = 5 // IOCB_CMD_POLL
	flagResFD   = 1 // IOCB_FLAG_RESFD
	contextSize = 4 // requests that a context must have room for: one at a time is used
)

// context is an AIO context with its one request.
type context struct {
	busy  atomic.Bool
	id    uintptr // aio_context_t
	ring  *ring   // in memory that the kernel mapped for the context, not Go's
	ready int     // an eventfd that is always readable
	cb    iocb
	list  [1]*iocb // for io_submit
	_     [64]byte // users of two contexts share no cache line
}

var errRing = errors.New("the kernel's AIO ring has another layout")

// open makes a context, or says why there is none.
func open() (*context, error) {
	c := &context{}
	var err error
	if c.ready, err = unix.Eventfd(1, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	// SAFETY: the kernel writes one word, before the call returns.
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, contextSize, uintptr(unsafe.Pointer(&c.id)), 0); errno != 0 {
		_ = unix.Close(c.ready)
		return nil, fmt.Errorf("io_setup: %w", errno)
	}
	// SAFETY: the context's id is the address of its ring, mapped until io_destroy
	// (io_setup(2), libaio's io_getevents).
	c.ring = *(**ring)(unsafe.Pointer(&c.id))
	if c.ring.magic != ringMagic || c.ring.incomp != 0 {
		c.close()
		return nil, errRing
	}
	c.cb = iocb{opcode: cmdPoll, fd: uint32(c.ready), buf: unix.POLLIN, flags: flagResFD}
	c.list[0] = &c.cb
	return c, nil
}

// submit has the kernel signal eventfd fd. The caller has the context to itself.
//
//	error: EINVAL (no eventfd), EBADF, EAGAIN or ENOMEM (no request)
func (c *context) submit(fd int) unix.Errno {
	// The last request's event is of no use: without this its place would stay taken.
	atomic.StoreUint32(&c.ring.head, atomic.LoadUint32(&c.ring.tail))
	c.cb.resFD = uint32(fd)
	// A raw call: the request completes at once, so the scheduler need not be told.
	// SAFETY: the kernel reads list and cb before the call returns.
	n, _, errno := unix.RawSyscall(unix.SYS_IO_SUBMIT, c.id, 1, uintptr(unsafe.Pointer(&c.list)))
	if n != 1 {
		return errno
	}
	return 0
}

func (c *context) close() {
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, c.id, 0, 0)
	_ = unix.Close(c.ready)
}
