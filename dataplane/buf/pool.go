package buf

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pool is a pool of buffers in plain mapped memory: what tests use, and a
// dataplane without a NIC.
//
//	conc: safe for concurrent use
type Pool struct {
	mem  []byte
	num  int
	room int

	mu     sync.Mutex
	free   []*Buf
	closed bool
}

var _ Source = (*Pool)(nil)

// NewPool maps num buffers with dataRoom bytes of data room each (headroom included).
//
//	error: num < 1, dataRoom outside 64..65535, no memory
func NewPool(num, dataRoom int) (*Pool, error) {
	if num < 1 || dataRoom < 64 || dataRoom > 65535 {
		return nil, fmt.Errorf("buf: pool of %d buffers of %d bytes: want at least 1 buffer of 64 to 65535 bytes", num, dataRoom)
	}
	stride := (HeaderSize + dataRoom + 63) &^ 63
	mem, err := unix.Mmap(-1, 0, num*stride, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("buf: pool of %d buffers of %d bytes: %w", num, dataRoom, err)
	}
	p := &Pool{mem: mem, num: num, room: dataRoom, free: make([]*Buf, 0, num)}
	for i := range num {
		at := unsafe.Pointer(&mem[i*stride])
		// SAFETY: each stride holds one header and its data room, 64-byte aligned.
		b := (*Buf)(at)
		b.Addr = unsafe.Add(at, HeaderSize)
		b.BufLen = uint16(dataRoom)
		b.RefCnt = 1
		b.Pool = unsafe.Pointer(unsafe.SliceData(mem))
		b.Reset()
		p.free = append(p.free, b)
	}
	return p, nil
}

// Identity implements Source.
func (p *Pool) Identity() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(p.mem))) }

// Get implements Source.
func (p *Pool) Get(bufs []*Buf) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < len(bufs) {
		return false
	}
	at := len(p.free) - len(bufs)
	copy(bufs, p.free[at:])
	p.free = p.free[:at]
	return true
}

// Put implements Source. It panics on more buffers than the pool was made
// with: some buffer was freed twice.
func (p *Pool) Put(bufs []*Buf) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free)+len(bufs) > p.num {
		panic("buf: buffer freed twice")
	}
	p.free = append(p.free, bufs...)
}

// Release implements Source; a Pool's buffers are never shared. It panics on a
// buffer of another pool, with nothing freed from that one on.
func (p *Pool) Release(b *Buf) {
	for b != nil {
		if uintptr(b.Pool) != p.Identity() {
			panic("buf: buffer of another pool")
		}
		next := b.Next
		b.Next = nil
		b.NbSegs = 1
		b.RefCnt = 1
		p.Put([]*Buf{b})
		b = next
	}
}

// Size implements Source.
func (p *Pool) Size() int { return p.num }

// Available implements Source.
func (p *Pool) Available() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.free)
}

// Close unmaps the pool.
//
//	error: buffers are still in use; nothing was done
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	if len(p.free) != p.num {
		return fmt.Errorf("buf: %d of %d buffers are still in use", p.num-len(p.free), p.num)
	}
	p.closed = true
	return unix.Munmap(p.mem)
}
