package guest

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memory is a shared file and its mapping. All access to it by pointer is in this
// file; every method checks its range.
type memory struct {
	fd   int
	data []byte
}

// newMemory is size bytes of zeroed shared memory, size a multiple of the page.
func newMemory(name string, size int) (*memory, error) { return newMemoryOf(name, size, false, false) }

// newMemoryOf is newMemory, in huge pages of 2 MiB if huge (size is a multiple of that), and all
// there from the start if there.
func newMemoryOf(name string, size int, huge, there bool) (*memory, error) {
	flags, mode := unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING, unix.MAP_SHARED
	if huge {
		flags |= unix.MFD_HUGETLB | unix.MFD_HUGE_2MB
	}
	if there {
		mode |= unix.MAP_POPULATE
	}
	fd, err := unix.MemfdCreate(name, flags)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("memfd of %d bytes: %w", size, err)
	}
	data, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, mode)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("map memfd of %d bytes: %w", size, err)
	}
	return &memory{fd: fd, data: data}, nil
}

func (m *memory) close() {
	if m.data != nil {
		unix.Munmap(m.data)
		m.data = nil
		unix.Close(m.fd)
	}
}

// userAddr is the address of offset 0 in this process: the base of the address
// space that SET_VRING_ADDR speaks of.
func (m *memory) userAddr() uint64 {
	// SAFETY: the address is only told to the peer, as a number; nobody makes a
	// pointer of it.
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m.data))))
}

// word is the 32-bit word at off, which must be a multiple of 4. Two 16-bit ring
// fields share it: Go has no 16-bit atomics.
func (m *memory) word(off int) *uint32 {
	if off&3 != 0 {
		panic("guest: unaligned ring word")
	}
	// SAFETY: slicing checks off and off+4 against the mapping; the mapping starts
	// at a page, so that off's alignment is the pointer's.
	return (*uint32)(unsafe.Pointer(unsafe.SliceData(m.data[off : off+4])))
}

// load32 reads the word at off; what is read later in the program is read later.
func (m *memory) load32(off int) uint32 { return atomic.LoadUint32(m.word(off)) }

// store32 writes the word at off after all that was written before, and before
// anything that is read later: on amd64 an XCHG, a full fence, which the order of
// "publish the index" and "read the peer's event index" needs (virtio 1.2, 2.7.7.2).
func (m *memory) store32(off int, v uint32) { atomic.StoreUint32(m.word(off), v) }

// swap32 reads the word at off and writes v, in one step.
func (m *memory) swap32(off int, v uint32) uint32 { return atomic.SwapUint32(m.word(off), v) }
