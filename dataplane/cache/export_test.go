package cache

import "baton/dataplane/flow"

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

// FreeBlocks is the blocks for rules that are free, and all.
func (c *Cache) FreeBlocks() (free, all int) {
	return int(c.mega.refs.num), len(c.mega.refs.blocks) - 1
}
