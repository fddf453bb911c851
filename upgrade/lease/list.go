package lease

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// head is a thread's list of robust futexes (struct robust_list_head).
type head struct {
	list    uintptr // the first node; itself if there is none
	offset  int64   // of a word from its node
	pending uintptr // a node that is being put in or taken out
}

// wordOffset is the distance that the C library's mutexes have, and so every list of a
// thread that it started. A thread of Go's own has no list; it gets one of the same kind.
const wordOffset = int64(unsafe.Offsetof(cell{}.word)) - int64(unsafe.Offsetof(cell{}.node))

// linked is what stands before a node: the link back, of the C library's making.
const linked = unsafe.Sizeof(uintptr(0))

// errLayout is for a C library whose lists differ.
var errLayout = errors.New("lease: this C library's list of robust mutexes has another layout: build with glibc")

// threadHead is the calling thread's list. Where there is none, it makes one in memory of
// its own, which ours is: the kernel reads it when the thread ends.
func threadHead() (h *head, ours []byte, err error) {
	var at *head
	var length uintptr
	_, _, errno := unix.RawSyscall(unix.SYS_GET_ROBUST_LIST, 0, uintptr(unsafe.Pointer(&at)), uintptr(unsafe.Pointer(&length)))
	if errno != 0 {
		return nil, nil, fmt.Errorf("lease: get_robust_list: %w", errno)
	}
	if at != nil {
		if length != unsafe.Sizeof(head{}) || at.offset != wordOffset {
			return nil, nil, errLayout
		}
		return at, nil, nil
	}
	if ours, err = unix.Mmap(-1, 0, int(unsafe.Sizeof(head{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
		return nil, nil, fmt.Errorf("lease: mmap: %w", err)
	}
	// SAFETY: the mapping is a page, and lives until setHead has been told otherwise.
	h = (*head)(unsafe.Pointer(&ours[0]))
	*h = head{offset: wordOffset}
	h.list = address(h)
	if err := setHead(h); err != nil {
		_ = unix.Munmap(ours)
		return nil, nil, err
	}
	return h, ours, nil
}

// dropHead undoes what threadHead made.
func dropHead(ours []byte) error {
	if ours == nil {
		return nil
	}
	if err := setHead(nil); err != nil { // the kernel would read it
		return err
	}
	return unix.Munmap(ours)
}

// setHead makes h the calling thread's list; nil: it has none.
func setHead(h *head) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SET_ROBUST_LIST, uintptr(unsafe.Pointer(h)), unsafe.Sizeof(head{}), 0); errno != 0 {
		return fmt.Errorf("lease: set_robust_list: %w", errno)
	}
	return nil
}

func address(h *head) uintptr { return uintptr(unsafe.Pointer(h)) }

// link puts c in front of the list, as the C library does, which finds its way from each
// node to those beside it.
func (c *cell) link(h *head) {
	c.node, c.prev = h.list, address(h)-linked
	if h.list != address(h) {
		*back(h.list) = uintptr(unsafe.Pointer(&c.prev))
	}
	h.list = uintptr(unsafe.Pointer(&c.node))
}

// unlink takes c out, wherever it is by now.
func (c *cell) unlink(h *head) {
	*forth(c.prev + linked) = c.node
	if c.node != address(h) {
		*back(c.node) = c.prev
	}
}

// back and forth are the links of the node at an address.
func back(node uintptr) *uintptr { return forth(node - linked) }

func forth(node uintptr) *uintptr {
	// SAFETY: a node of the calling thread's own list, which the C library or link made: it
	// is in memory that Go does not move, and nobody else changes the list.
	return *(**uintptr)(unsafe.Pointer(&node))
}
