package cache

import (
	"baton/dataplane/pipeline"
	"baton/dataplane/table"
)

// blockRefs is how many rules a block holds: 128 bytes a block, and the tables
// of one switch fit in one.
const blockRefs = 15

// block is a piece of an entry's list of rules.
type block struct {
	next uint32 // number of the next block, 0: none
	num  uint32
	refs [blockRefs]table.Ref
}

// refPool holds the lists of rules of all entries. Block 0 is none.
type refPool struct {
	blocks []block
	free   uint32 // first free block
	num    uint32 // free blocks
}

// init links all blocks into the list of free ones.
func (p *refPool) init(blocks []block) {
	p.blocks = blocks
	for i := len(blocks) - 1; i > 0; i-- {
		blocks[i].next = p.free
		p.free = uint32(i)
		p.num++
	}
}

// need is how many blocks n rules take.
func need(n int) uint32 { return uint32((n + blockRefs - 1) / blockRefs) }

// put stores a list and returns its first block. There must be need(len(refs)) free ones.
func (p *refPool) put(refs []table.Ref) (first uint32) {
	at := &first
	for len(refs) > 0 {
		i := p.free
		b := &p.blocks[i]
		p.free = b.next
		p.num--
		n := copy(b.refs[:], refs)
		b.num, b.next = uint32(n), 0
		refs = refs[n:]
		*at = i
		at = &b.next
	}
	return first
}

// drop frees the list that begins with block i.
func (p *refPool) drop(i uint32) {
	for i != 0 {
		b := &p.blocks[i]
		next := b.next
		b.next = p.free
		p.free = i
		p.num++
		i = next
	}
}

// credit tells the rules of the list that begins with block i of their packets.
func (p *refPool) credit(i uint32, c *pipeline.Counters, packets, bytes uint64) {
	for i != 0 {
		b := &p.blocks[i]
		for n := range b.num {
			c.Add(b.refs[n], packets, bytes)
		}
		i = b.next
	}
}
