//go:build !amd64 || purego

package guestmem

import "sync/atomic"

// release32 stores v after all stores before it.
func release32(p *uint32, v uint32) { atomic.StoreUint32(p, v) }

// release64 is release32 for 64 bits.
func release64(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
