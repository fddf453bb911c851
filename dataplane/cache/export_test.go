package cache

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"baton/dataplane/flow"
)

// KeyOf is the key of an entry, under its mask.
func (c *Cache) KeyOf(e *Entry) flow.Key { return c.mega.masks.all[e.mask].unpack(&e.key) }

// Looked is how many entries were looked at so far to make room for others.
func (c *Cache) Looked() uint64 { return c.mega.looked }

// Mapped is the bytes of memory outside the heap.
func (c *Cache) Mapped() (bytes int) {
	for _, mem := range c.maps {
		bytes += len(mem)
	}
	return bytes
}

// Resident is how much of the memory outside the heap there is: of the part that Populate
// is about, and of the rest.
func (c *Cache) Resident() (wide, rest int, err error) {
	for _, mem := range c.maps {
		pages := make([]byte, (len(mem)+pageSize-1)/pageSize)
		_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)), uintptr(unsafe.Pointer(&pages[0])))
		if errno != 0 {
			return 0, 0, errno
		}
		sum := &rest
		for i := range c.wide {
			if &c.wide[i][0] == &mem[0] {
				sum = &wide
			}
		}
		for _, p := range pages {
			*sum += int(p&1) * pageSize
		}
	}
	return wide, rest, nil
}

var pageSize = os.Getpagesize()

// FreeBlocks is the blocks for rules that are free, and all.
func (c *Cache) FreeBlocks() (free, all int) {
	return int(c.mega.refs.num), len(c.mega.refs.blocks) - 1
}

// UseMicro has the exact-match cache asked from now on, as it would be after a window of
// packets that cost many masks each.
func (c *Cache) UseMicro() { c.micro.on = true }
