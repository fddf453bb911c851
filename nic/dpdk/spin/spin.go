package spin

// #cgo pkg-config: libdpdk
// #include "spin.h"
import "C"

import "unsafe"

// Gaps spins for length cycles of the time stamp counter and notes each time between two
// looks at it that is at least floor cycles long. It returns those that out has room for,
// and how many there were.
//
//	conc: the caller's thread is in C meanwhile
func Gaps(out []uint64, floor, length uint64) (gaps []uint64, num uint64) {
	if len(out) == 0 {
		return nil, 0
	}
	num = uint64(C.baton_spin((*C.uint64_t)(unsafe.Pointer(&out[0])), C.uint64_t(len(out)), C.uint64_t(floor), C.uint64_t(length)))
	return out[:min(num, uint64(len(out)))], num
}
