package eal

// #include "eal.h"
import "C"

import "syscall"

// Errno is an error number of DPDK: those of the operating system, and a few of
// DPDK's own above 1000. errors.Is(err, unix.EBUSY) works on it.
type Errno int

// ErrNotSupported is what DPDK returns for what a driver cannot do (ENOTSUP, which is
// EOPNOTSUPP on Linux).
const ErrNotSupported = Errno(syscall.ENOTSUP)

// Error is DPDK's text for the number.
func (e Errno) Error() string {
	var text [128]C.char
	C.baton_eal_strerror(C.int(e), &text[0], C.size_t(len(text)))
	return C.GoString(&text[0])
}

// Unwrap is the operating system's error of the same number.
func (e Errno) Unwrap() error { return syscall.Errno(e) }

// AsError is nil for ret >= 0, the Errno of a negative return value otherwise:
// DPDK's convention for functions that return an int.
func AsError(ret int) error {
	if ret >= 0 {
		return nil
	}
	return Errno(-ret)
}
