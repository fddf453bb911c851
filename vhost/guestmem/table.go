package guestmem

import (
	"fmt"
	"sort"
	"unsafe"
)

// entry is what a look-up needs of a mapping.
type entry struct {
	guest, user, size uint64
	host              unsafe.Pointer
}

// Table translates the addresses of one guest. The zero Table has no memory.
//
//	conc: immutable, any goroutine
type Table struct {
	entries []entry // by guest address
	maps    []*Mapping
}

// NewTable is a table of maps, in any order. The mappings stay the caller's.
//
//	error: ErrTooMany, ErrTooMuch, ErrOverlap (in guest or in front-end addresses)
func NewTable(maps []*Mapping) (*Table, error) {
	if len(maps) > MaxRegions {
		return nil, fmt.Errorf("%w: %d, at most %d", ErrTooMany, len(maps), MaxRegions)
	}
	t := &Table{maps: append([]*Mapping(nil), maps...)}
	sort.Slice(t.maps, func(i, j int) bool { return t.maps[i].UserAddr < t.maps[j].UserAddr })
	for i := 1; i < len(t.maps); i++ {
		if p := t.maps[i-1]; p.UserAddr+p.Size > t.maps[i].UserAddr {
			return nil, fmt.Errorf("%w: front-end addresses %#x and %#x", ErrOverlap, p.UserAddr, t.maps[i].UserAddr)
		}
	}
	sort.Slice(t.maps, func(i, j int) bool { return t.maps[i].GuestAddr < t.maps[j].GuestAddr })
	total := uint64(0) // MaxRegions of Map's sizes do not wrap
	for i, m := range t.maps {
		if total += m.Size; total > MaxGuest {
			return nil, fmt.Errorf("%w: one guest, at most %#x bytes", ErrTooMuch, uint64(MaxGuest))
		}
		if i > 0 {
			if p := t.maps[i-1]; p.GuestAddr+p.Size > m.GuestAddr {
				return nil, fmt.Errorf("%w: guest addresses %#x and %#x", ErrOverlap, p.GuestAddr, m.GuestAddr)
			}
		}
		t.entries = append(t.entries, entry{guest: m.GuestAddr, user: m.UserAddr, size: m.Size, host: m.host})
	}
	return t, nil
}

// Mappings are the table's regions by guest address. The caller must not change the slice.
func (t *Table) Mappings() []*Mapping { return t.maps }

// findGuest is the entry that holds guest address addr, or nil.
func (t *Table) findGuest(addr uint64) *entry {
	lo, hi := 0, len(t.entries)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		e := &t.entries[mid]
		switch {
		case addr < e.guest:
			hi = mid
		case addr-e.guest < e.size:
			return e
		default:
			lo = mid + 1
		}
	}
	return nil
}

// user is the host address of n bytes at front-end address addr; nil unless one
// region holds them all.
func (t *Table) user(addr, n uint64) unsafe.Pointer {
	for i := range t.entries {
		e := &t.entries[i]
		if addr >= e.user && addr-e.user < e.size {
			if n > e.size-(addr-e.user) {
				return nil
			}
			// SAFETY: addr-user+n <= size, inside the mapping.
			return unsafe.Add(e.host, addr-e.user)
		}
	}
	return nil
}

// Cursor translates guest physical addresses and remembers the last region.
//
//	owner: one ring's worker    conc: one goroutine
type Cursor struct {
	last  entry
	table *Table
}

// NewCursor is a cursor over t.
func NewCursor(t *Table) Cursor { return Cursor{table: t} }

// Span is a checked, contiguous piece of guest memory.
type Span struct {
	p unsafe.Pointer
	n uint32
}

// Len is the span's length in bytes.
func (s Span) Len() int { return int(s.n) }

// Span is the first contiguous piece of the n bytes at guest address addr. Where
// the range goes on in another region, the piece is shorter than n, and the
// caller asks again behind it.
//
//	out: ok is false when addr is not mapped (also if n is 0) or addr+n wraps
//	alloc: 0
func (c *Cursor) Span(addr uint64, n uint32) (s Span, ok bool) {
	off := addr - c.last.guest
	if off >= c.last.size || uint64(n) > c.last.size-off {
		return c.spanSlow(addr, n)
	}
	// SAFETY: off+n <= size of the region, checked above.
	return Span{unsafe.Add(c.last.host, off), n}, true
}

func (c *Cursor) spanSlow(addr uint64, n uint32) (Span, bool) {
	if addr+uint64(n) < addr {
		return Span{}, false
	}
	e := c.table.findGuest(addr)
	if e == nil {
		return Span{}, false
	}
	c.last = *e
	off := addr - e.guest
	// SAFETY: off < size, and the length is cut to what is left of the region.
	return Span{unsafe.Add(e.host, off), uint32(min(uint64(n), e.size-off))}, true
}

// Slice is n bytes of the span from off on, cut to the span's end.
func (s Span) Slice(off, n uint32) Span {
	off = min(off, s.n)
	// SAFETY: off <= s.n, and the length is cut to what is left.
	return Span{unsafe.Add(s.p, off), min(n, s.n-off)}
}

// bytes is the span's memory. It stays inside this package: whoever held it could
// read a byte twice.
func (s Span) bytes() []byte {
	// SAFETY: a Span is made only from a checked range of a mapping.
	return unsafe.Slice((*byte)(s.p), int(s.n))
}

// Read copies the span's start to dst, each byte once, and returns how many bytes
// that were: the smaller of the two lengths.
func (s Span) Read(dst []byte) int { return copy(dst, s.bytes()) }

// Write copies src to the span's start and returns how many bytes that were.
func (s Span) Write(src []byte) int { return copy(s.bytes(), src) }

// ReadGuest copies len(dst) bytes at guest address addr, over region borders.
//
//	out: false if a part of them is not mapped; dst may be written partly
//	alloc: 0
func (c *Cursor) ReadGuest(dst []byte, addr uint64) bool {
	if addr+uint64(len(dst)) < addr {
		return false
	}
	for len(dst) > 0 {
		s, ok := c.Span(addr, uint32(min(len(dst), 1<<30)))
		if !ok {
			return false
		}
		k := s.Read(dst)
		dst = dst[k:]
		addr += uint64(k)
	}
	return true
}

// Mapped tells whether all n bytes at guest address addr are mapped.
func (c *Cursor) Mapped(addr, n uint64) bool {
	if addr+n < addr {
		return false
	}
	for {
		s, ok := c.Span(addr, uint32(min(n, 1<<30)))
		if !ok {
			return false
		}
		n -= uint64(s.n)
		addr += uint64(s.n)
		if n == 0 {
			return true
		}
	}
}

// GuestAddr is the guest physical address of front-end address addr.
func (t *Table) GuestAddr(addr uint64) (guest uint64, ok bool) {
	for i := range t.entries {
		if e := &t.entries[i]; addr >= e.user && addr-e.user < e.size {
			return e.guest + (addr - e.user), true
		}
	}
	return 0, false
}
