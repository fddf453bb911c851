package cache

import "baton/dataplane/flow"

// KeyOf is the key of an entry, under its mask.
func (c *Cache) KeyOf(e *Entry) flow.Key { return c.mega.masks.all[e.mask].unpack(&e.key) }
