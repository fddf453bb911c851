package mbuf

// #include "mbuf.h"
// #cgo noescape baton_mbuf_free
// #cgo nocallback baton_mbuf_free
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"baton/dataplane/buf"
)

// ErrUnsound is returned for a buffer that breaks DPDK's rules.
var ErrUnsound = errors.New("mbuf: unsound buffer")

// PktMbufFree frees b and all its segments to the pools they came from, whatever
// their kind. It is the slow way, one C call a buffer: buf.Cache frees plain
// buffers without C.
//
//	owner: takes b    conc: safe for concurrent use    alloc: 0
func PktMbufFree(b *buf.Buf) { C.baton_mbuf_free((*C.struct_rte_mbuf)(unsafe.Pointer(b))) }

// Check has DPDK look over b and its segments: lengths, pool, reference count.
//
//	error: ErrUnsound with DPDK's reason
func Check(b *buf.Buf) error {
	var reason *C.char
	if C.baton_mbuf_check((*C.struct_rte_mbuf)(unsafe.Pointer(b)), &reason) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrUnsound, C.GoString(reason))
}

// PktMbufClone is a buffer with a header of its own that shares b's bytes, or nil
// if b's pool is empty. Neither may be written to until one of them is freed.
//
//	owner: the caller owns both
func PktMbufClone(b *buf.Buf) *buf.Buf {
	return (*buf.Buf)(unsafe.Pointer(C.baton_mbuf_clone((*C.struct_rte_mbuf)(unsafe.Pointer(b)))))
}
