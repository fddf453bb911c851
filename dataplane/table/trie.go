package table

// The trie is a persistent hash map: an edit copies the path from the root to
// one leaf and shares the rest. 16 children a node keep a copied path short
// (a million values are 5 levels deep), 8 values a leaf keep nodes few.
const (
	fanBits  = 4
	fan      = 1 << fanBits
	leafSize = 8
	maxDepth = 64 / fanBits
)

// ranked is what a trie holds.
type ranked interface{ rank() uint16 }

// item is a value with its hash. Several values may have one hash.
type item[T ranked] struct {
	hash uint64
	val  T
}

// node is an inner node (kids) or a leaf (items, highest rank first).
type node[T ranked] struct {
	edit  *edit // the edit that made the node may change it in place
	num   int
	top   uint16 // highest rank below
	kids  *[fan]*node[T]
	items []item[T]
}

// edit marks the nodes that one Editor made and nobody else has seen.
type edit struct{ _ byte }

// leaf is the items among which a value of this hash is.
func (n *node[T]) leaf(hash uint64) []item[T] {
	for n != nil && n.kids != nil {
		n = n.kids[hash&(fan-1)]
		hash >>= fanBits
	}
	if n == nil {
		return nil
	}
	return n.items
}

// each calls f with every value until it returns false.
func (n *node[T]) each(f func(T) bool) bool {
	if n == nil {
		return true
	}
	for _, i := range n.items {
		if !f(i.val) {
			return false
		}
	}
	if n.kids == nil {
		return true
	}
	for _, k := range n.kids {
		if !k.each(f) {
			return false
		}
	}
	return true
}

// place is where in the trie an edit works.
type place[T ranked] struct {
	edit *edit
	hash uint64 // of the value
	same func(T) bool
}

// put is n with v instead of the value that p.same holds for, or besides all others.
func (n *node[T]) put(p place[T], depth int, v T) *node[T] {
	if n == nil {
		return &node[T]{edit: p.edit, num: 1, top: v.rank(), items: []item[T]{{p.hash, v}}}
	}
	n = n.own(p.edit)
	if n.kids != nil {
		kid := &n.kids[p.hash>>(depth*fanBits)&(fan-1)]
		*kid = (*kid).put(p, depth+1, v)
		n.sum()
		return n
	}
	for at := range n.items {
		if n.items[at].hash == p.hash && p.same(n.items[at].val) {
			n.items = append(n.items[:at], n.items[at+1:]...)
			break
		}
	}
	at := 0
	for at < len(n.items) && n.items[at].val.rank() >= v.rank() {
		at++
	}
	n.items = append(n.items, item[T]{})
	copy(n.items[at+1:], n.items[at:])
	n.items[at] = item[T]{p.hash, v}
	if len(n.items) > leafSize && depth < maxDepth && !n.oneHash() {
		n.split(p.edit, depth)
	}
	n.sum()
	return n
}

// remove is n without the value that p.same holds for.
func (n *node[T]) remove(p place[T], depth int) *node[T] {
	if n == nil {
		return nil
	}
	n = n.own(p.edit)
	if n.kids != nil {
		kid := &n.kids[p.hash>>(depth*fanBits)&(fan-1)]
		*kid = (*kid).remove(p, depth+1)
	}
	for at := range n.items {
		if n.items[at].hash == p.hash && p.same(n.items[at].val) {
			n.items = append(n.items[:at], n.items[at+1:]...)
			break
		}
	}
	n.sum()
	if n.num == 0 {
		return nil
	}
	if n.kids != nil && n.num <= leafSize/2 {
		n.join()
	}
	return n
}

// own is n if the edit made it, else a copy that it made.
func (n *node[T]) own(e *edit) *node[T] {
	if n.edit == e {
		return n
	}
	c := *n
	c.edit = e
	if n.kids != nil {
		kids := *n.kids
		c.kids = &kids
	}
	c.items = append(make([]item[T], 0, len(n.items)+1), n.items...)
	return &c
}

// oneHash reports whether splitting a leaf would be in vain.
func (n *node[T]) oneHash() bool {
	for _, i := range n.items {
		if i.hash != n.items[0].hash {
			return false
		}
	}
	return true
}

// split makes an inner node of a leaf.
func (n *node[T]) split(e *edit, depth int) {
	n.kids = new([fan]*node[T])
	for _, i := range n.items {
		kid := &n.kids[i.hash>>(depth*fanBits)&(fan-1)]
		*kid = (*kid).put(place[T]{edit: e, hash: i.hash, same: never[T]}, depth+1, i.val)
	}
	n.items = nil
}

// never is the place.same of a value that is known to be new.
func never[T ranked](T) bool { return false }

// join makes a leaf of an inner node whose children are leaves or hold few.
func (n *node[T]) join() {
	var items []item[T]
	for _, k := range n.kids {
		items = k.collect(items)
	}
	// Few items: insertion sort, stable, by rank.
	for i := 1; i < len(items); i++ {
		for j := i; j > 0 && items[j].val.rank() > items[j-1].val.rank(); j-- {
			items[j], items[j-1] = items[j-1], items[j]
		}
	}
	n.kids, n.items = nil, items
}

// collect appends all items below n.
func (n *node[T]) collect(items []item[T]) []item[T] {
	if n == nil {
		return items
	}
	items = append(items, n.items...)
	if n.kids != nil {
		for _, k := range n.kids {
			items = k.collect(items)
		}
	}
	return items
}

// sum recomputes num and top.
func (n *node[T]) sum() {
	n.num, n.top = len(n.items), 0
	if len(n.items) > 0 {
		n.top = n.items[0].val.rank()
	}
	if n.kids == nil {
		return
	}
	for _, k := range n.kids {
		if k != nil {
			n.num += k.num
			n.top = max(n.top, k.top)
		}
	}
}
