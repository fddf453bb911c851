package guestmem

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"baton/vhost/peerfd"
)

// LogPage is the granule of a dirty log, in bytes: one bit stands for so much of the
// guest's physical addresses, whatever the page size of either side.
const LogPage = 4096

// Log is a dirty log: the bitmap in shared memory in which a back end notes what it
// wrote, so that a migrating front end sends those pages again.
//
//	byte:  0 ........ 1 ........ 2 ........          size
//	bit n of byte b: guest physical page 8*b+n
//
//	owner: the control side, which closes it after Quiesce
//	conc: Mark from any goroutine    spec: vhost-user, "Migration"
type Log struct {
	file *Mapping
}

// NewLog maps size bytes of file fd at offset as a log. It owns fd from the call on,
// also on error.
//
//	error: as Map: ErrRange also where offset+size wraps; ErrTooMuch also for a log
//	larger than any guest's memory
func NewLog(fd int, offset, size uint64) (*Log, error) {
	r := Region{Size: size, MmapOffset: offset}
	if size > MaxGuest {
		err := fmt.Errorf("dirty log of %#x bytes: %w", size, ErrTooMuch)
		if r.check() != nil {
			err = fmt.Errorf("dirty log of %#x bytes at %#x: %w", size, offset, ErrRange)
		}
		peerfd.Close(fd)
		return nil, err
	}
	m, err := Map(r, fd)
	if err != nil {
		return nil, fmt.Errorf("dirty log: %w", err)
	}
	return &Log{file: m}, nil
}

// Size is the log's length in bytes.
func (l *Log) Size() uint64 { return l.file.Size }

// File is the log's file, which stays the log's, and where in it the log begins.
func (l *Log) File() (fd int, offset uint64) { return l.file.FD, l.file.MmapOffset }

// Close unmaps the log and closes its file. No ring may use it any more.
func (l *Log) Close() { l.file.Close() }

// Covers tells whether the log has a bit for every page of t.
func (l *Log) Covers(t *Table) bool {
	for _, e := range t.entries {
		if (e.guest+e.size-1)/LogPage/8 >= l.file.Size {
			return false
		}
	}
	return true
}

// Mark notes that the n bytes at guest address gpa were written. The write comes
// first: Mark orders it before the bits, so that whoever clears a bit and then copies
// the page copies what was written. What the log has no bit for is left out.
//
//	alloc: 0    conc: any goroutine
func (l *Log) Mark(gpa, n uint64) {
	if n == 0 || gpa+(n-1) < gpa {
		return
	}
	first, last := gpa/LogPage, (gpa+(n-1))/LogPage
	end := l.file.Size * 8 // at most MaxGuest*8: does not wrap
	if first >= end {
		return
	}
	last = min(last, end-1)
	// SAFETY: byte page/8 < Size of the mapping for all pages from first to last.
	for page := first; page <= last; page++ {
		orBit(unsafe.Add(l.file.host, page/8), uint(page%8))
	}
}

// orBit sets a bit of the byte at p, by an atomic OR on the aligned word around it,
// which lies in p's page and whose other bits stay as they are. It does not look first
// whether the bit is set: a look could pass the write that it stands for.
func orBit(p unsafe.Pointer, bit uint) {
	shift := (uint(uintptr(p))&3)*8 + bit
	// SAFETY: an aligned word in the page of a byte that is mapped.
	w := (*uint32)(unsafe.Pointer(uintptr(p) &^ 3))
	atomic.OrUint32(w, 1<<shift)
}

// Fault is Table.Fault for the log's memory. A nil Log has none.
func (l *Log) Fault(p any) bool {
	return l != nil && l.file.holds(p)
}
