package cache

import (
	"unsafe"

	"baton/dataplane/pipeline"
	"baton/dataplane/table"
)

// ownRefs is how many rules an entry has room for: five cache lines, and the tables of
// two switches with a router between them fit in.
const ownRefs = 39

// refs is the list of the rules that an entry was made of: that of the entry with
// the same number.
type refs struct {
	num  uint32 // of own
	more uint32 // number of the first block with the others, 0: none
	own  [ownRefs]table.Ref
}

// blockRefs is how many rules a block holds: 128 bytes a block.
const blockRefs = 15

// block is a piece of a list that is longer than most.
type block struct {
	next uint32 // number of the next block, 0: none
	num  uint32
	refs [blockRefs]table.Ref
}

var _ [5 * 64]byte = [unsafe.Sizeof(refs{})]byte{}

// refPool holds the lists of rules of all entries. No block is touched before it is
// needed. Block 0 is none.
type refPool struct {
	lists  []refs
	blocks []block
	free   uint32 // first free block of those that were in use before, 0: none
	virgin uint32 // the block from which on none ever was in use
	num    uint32 // free blocks
}

// init takes memory.
func (p *refPool) init(lists []refs, blocks []block) {
	p.lists, p.blocks = lists, blocks
	p.virgin, p.num = 1, uint32(len(blocks)-1)
}

// need is how many blocks n rules of an entry take.
func need(n int) uint32 { return uint32((max(n-ownRefs, 0) + blockRefs - 1) / blockRefs) }

// put is the list of entry number at from now on; it had none. There must be
// need(len(list)) free blocks.
func (p *refPool) put(at uint32, list []table.Ref) {
	r := &p.lists[at]
	n := copy(r.own[:], list)
	r.num, r.more = uint32(n), 0
	list = list[n:]
	for next := &r.more; len(list) > 0; {
		i := p.take()
		b := &p.blocks[i]
		n := copy(b.refs[:], list)
		b.num, b.next = uint32(n), 0
		list = list[n:]
		*next, next = i, &b.next
	}
}

// prefetch starts loading the list of entry number at, if it is one of num rules.
func (p *refPool) prefetch(at uint32, num int) {
	const lineRefs = 8
	prefetchLines(unsafe.Pointer(&p.lists[at]), min(num, ownRefs)/lineRefs+1)
}

// take is a free block.
func (p *refPool) take() uint32 {
	p.num--
	if i := p.free; i != 0 {
		p.free = p.blocks[i].next
		return i
	}
	p.virgin++
	return p.virgin - 1
}

// drop makes the list of entry number at empty.
func (p *refPool) drop(at uint32) {
	r := &p.lists[at]
	for i := r.more; i != 0; {
		b := &p.blocks[i]
		next := b.next
		b.next = p.free
		p.free = i
		p.num++
		i = next
	}
	r.num, r.more = 0, 0
}

// credit adds packets to the rules of entry number at.
func (p *refPool) credit(at uint32, t *tally, c *pipeline.Counters, packets, bytes uint64) {
	r := &p.lists[at]
	for n := range r.own[:min(r.num, ownRefs)] {
		t.add(r.own[n], c, packets, bytes)
	}
	for i := r.more; i != 0; {
		b := &p.blocks[i]
		for n := range b.refs[:min(b.num, blockRefs)] {
			t.add(b.refs[n], c, packets, bytes)
		}
		i = b.next
	}
}
