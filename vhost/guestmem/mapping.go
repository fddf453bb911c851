package guestmem

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"baton/vhost/peerfd"
)

// Errors of Map and NewTable, for errors.Is.
var (
	ErrRange   = errors.New("address range is empty or wraps")
	ErrFile    = errors.New("file does not hold the region")
	ErrBacking = errors.New("file is not in memory")
	ErrOverlap = errors.New("regions overlap")
	ErrTooMany = errors.New("too many regions")
	ErrTooMuch = errors.New("more memory than one guest, or all together, may have")
)

// MaxRegions is how many regions one guest may have: QEMU needs 2 and one more
// for each memory module; more than this only lengthens look-ups.
const MaxRegions = 64

// MaxMapped bounds the mappings of all guests together, in bytes: half the addresses
// of an amd64 process. A front end's file may claim any size without having a page of
// it, and a process without free addresses dies.
const MaxMapped = 64 << 40

// MaxGuest bounds one guest's memory, in bytes, so that no few front ends take
// MaxMapped from the others: 64 guests may have as much.
const MaxGuest = 1 << 40

// mapped is what is taken of MaxMapped.
var mapped atomic.Int64

// reserve takes n bytes of MaxMapped; false if there are fewer.
func reserve(n uint64) bool {
	if n > MaxMapped {
		return false
	}
	if mapped.Add(int64(n)) > MaxMapped {
		mapped.Add(-int64(n))
		return false
	}
	return true
}

// Region says where a part of guest memory lies, in the peer's numbers (bytes).
type Region struct {
	GuestAddr  uint64 `json:"guest_addr"` // guest physical address
	Size       uint64 `json:"size"`
	UserAddr   uint64 `json:"user_addr"`   // address in the front end
	MmapOffset uint64 `json:"mmap_offset"` // start in the file
}

// check refuses ranges that are empty or wrap in any of the address spaces.
func (r Region) check() error {
	const limit = 1 << 62 // far above any address; sums of two stay clear of wrapping
	if r.Size == 0 || r.Size > limit || r.MmapOffset > limit {
		return ErrRange
	}
	if r.GuestAddr+r.Size < r.GuestAddr || r.UserAddr+r.Size < r.UserAddr {
		return ErrRange
	}
	return nil
}

// Mapping is one region, mapped.
//
//	owner: the control side, which closes it after Quiesce    conc: immutable until Close
type Mapping struct {
	Region
	FD       int    // the file, kept open: a successor process maps it again
	PageSize uint64 // bytes, of the file system
	mem      []byte // the whole mapping, page aligned
	host     unsafe.Pointer
}

// hugeMax is the largest page size of any platform; st_blksize beyond is nonsense.
const hugeMax = 16 << 30

// Map maps region r of file fd, shared and writable. It owns fd from the call on,
// also on error.
//
//	error: ErrRange; ErrFile when the file is shorter than the region or cannot be
//	mapped; ErrBacking when it lies on a disk or behind another process; ErrTooMuch
func Map(r Region, fd int) (*Mapping, error) {
	m, err := mapRegion(r, fd)
	if err != nil {
		peerfd.Close(fd)
		return nil, err
	}
	return m, nil
}

func mapRegion(r Region, fd int) (*Mapping, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("guest address %#x, size %#x, offset %#x: %w", r.GuestAddr, r.Size, r.MmapOffset, err)
	}
	page, err := filePageSize(fd)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("fstat: %w (%w)", ErrFile, err)
	}
	if st.Size < 0 || uint64(st.Size) < r.MmapOffset+r.Size {
		return nil, fmt.Errorf("%w: it ends at %#x, the region at %#x", ErrFile, st.Size, r.MmapOffset+r.Size)
	}
	// The kernel wants offset and, for huge pages, length in whole pages.
	start := r.MmapOffset &^ (page - 1)
	length := (r.MmapOffset - start + r.Size + page - 1) &^ (page - 1)
	if int64(length) <= 0 {
		return nil, ErrRange
	}
	if !reserve(length) {
		return nil, fmt.Errorf("%w: %#x bytes more than %#x", ErrTooMuch, length, uint64(MaxMapped))
	}
	mem, err := unix.Mmap(fd, int64(start), int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		mapped.Add(-int64(length))
		return nil, fmt.Errorf("%w: mmap of %#x bytes at %#x: %w", ErrFile, length, start, err)
	}
	// Guests' memory in our core dump would be a leak, and huge. Failing is harmless.
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	m := &Mapping{Region: r, FD: fd, PageSize: page, mem: mem}
	// SAFETY: MmapOffset-start+Size <= length, so that host..host+Size is inside mem.
	m.host = unsafe.Add(unsafe.Pointer(unsafe.SliceData(mem)), r.MmapOffset-start)
	return m, nil
}

// filePageSize is the page size of fd's file system. Only file systems that live in
// memory pass: reading a page of any other may wait for a disk, or for a process
// of the peer's (FUSE), and a worker must not wait. Nor must we, so that the file is
// not asked before it is known to be in memory.
func filePageSize(fd int) (uint64, error) {
	name, err := peerfd.Name(fd)
	if err != nil {
		return 0, fmt.Errorf("%w (%w)", ErrFile, err)
	}
	if !peerfd.InMemory(fd) {
		return 0, fmt.Errorf("%w but %q: use memory-backend-memfd, /dev/shm or huge pages", ErrBacking, name)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, fmt.Errorf("fstatfs: %w (%w)", ErrFile, err)
	}
	if int64(fs.Type) != unix.HUGETLBFS_MAGIC {
		return uint64(unix.Getpagesize()), nil
	}
	page := uint64(fs.Bsize)
	if bits.OnesCount64(page) != 1 || page > hugeMax {
		return 0, fmt.Errorf("%w: huge page size %d", ErrFile, page)
	}
	return page, nil
}

// Close unmaps the region and closes its file. No table with this mapping may be in use.
func (m *Mapping) Close() {
	if m.mem == nil {
		return
	}
	_ = unix.Munmap(m.mem)
	mapped.Add(-int64(len(m.mem)))
	_ = unix.Close(m.FD)
	m.mem, m.host, m.FD = nil, nil, -1
}
