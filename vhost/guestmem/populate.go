package guestmem

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// madvPopulateWrite is MADV_POPULATE_WRITE (Linux 5.14).
const madvPopulateWrite = 23

// populateAt is the number of bytes that are looked at at a time: what the guest frees meanwhile
// comes back for a moment at the most.
const populateAt = 16 << 20

// Populate maps what the guest has of its memory already, so that who goes on with its rings does
// not fault for each page. Pages that the guest has never used stay so. It takes about a
// microsecond for each page; what the kernel does not do is left to the faults.
//
//	conc: any goroutine, before Close
func (m *Mapping) Populate() {
	page := os.Getpagesize()
	there := make([]byte, populateAt/page)
	for at := 0; at < len(m.mem); at += populateAt {
		part := m.mem[at:min(at+populateAt, len(m.mem))]
		in := there[:(len(part)+page-1)/page]
		if mincore(part, in) != 0 {
			return
		}
		eachRun(in, func(from, to int) {
			_ = unix.Madvise(part[from*page:min(to*page, len(part))], madvPopulateWrite)
		})
	}
}

// mincore is mincore(2): bit 0 of each byte of in tells whether that page of mem is in memory.
func mincore(mem, in []byte) syscall.Errno {
	// SAFETY: in has a byte for each page of mem, which the kernel writes.
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)), uintptr(unsafe.Pointer(&in[0])))
	return errno
}

// eachRun calls f for the longest runs of bytes whose lowest bit is set.
func eachRun(in []byte, f func(from, to int)) {
	for from := 0; from < len(in); {
		if in[from]&1 == 0 {
			from++
			continue
		}
		to := from
		for to < len(in) && in[to]&1 != 0 {
			to++
		}
		f(from, to)
		from = to
	}
}
