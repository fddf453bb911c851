package cache

import "baton/dataplane/flow"

// maxMasks bounds the masks in use, and so the time of a miss. Each mask costs
// one bucket to look at; the pipeline's rules decide how many there are.
const maxMasks = 128

// maxHints is how many groups of ingress ports remember which mask found their
// packets last.
const maxHints = 64

// mask is a mask in use.
type mask struct {
	sparse
	key  flow.Key // the mask itself
	num  uint32   // entries with it
	hits uint64   // since the order was last made
}

// masks are the masks in use and the order in which they are asked.
type masks struct {
	all   [maxMasks]mask
	order [maxMasks]uint32 // numbers of those in use, most hits first
	num   int
	hints [maxHints]uint32 // mask to ask first, by ingress port
	count uint32           // packets found since the order was last made
}

// init makes an order of masks that are not in use.
func (m *masks) init() {
	for i := range m.order {
		m.order[i] = uint32(i)
	}
}

// hintOf is the place of the hint for packets like k: bursts come from one queue,
// and those of one queue are often found under one mask.
func hintOf(k *flow.Key) uint64 { return uint64(k.InPort) * mix[0] >> 58 }

// hit counts n packets that mask id found; now and then the masks are put in order,
// so that those with most hits are asked first.
func (m *masks) hit(id uint32, n int) {
	m.all[id].hits += uint64(n)
	if m.count += uint32(n); m.count < 4096 {
		return
	}
	m.count = 0
	used := m.order[:m.num]
	for i := 1; i < len(used); i++ {
		for j := i; j > 0 && m.all[used[j]].hits > m.all[used[j-1]].hits; j-- {
			used[j], used[j-1] = used[j-1], used[j]
		}
	}
	for _, id := range used {
		m.all[id].hits /= 2
	}
}

// find is the number of a mask in use; false if it is not in use.
func (m *masks) find(k *flow.Key) (id uint32, ok bool) {
	for _, id := range m.order[:m.num] {
		if m.all[id].key == *k {
			return id, true
		}
	}
	return 0, false
}

// use is the number of mask k, put in use if it was not; it may be the one with the
// number last. If all are in use it is the exact mask instead: an entry may always
// depend on more bits.
func (m *masks) use(k *flow.Key, last uint32) uint32 {
	if m.all[last].num > 0 && m.all[last].key == *k {
		return last
	}
	if id, ok := m.find(k); ok {
		return id
	}
	if m.num >= maxMasks-1 {
		// The last place is the exact mask's.
		if id, ok := m.find(&exact); ok {
			return id
		}
		k = &exact
	}
	id := m.order[m.num]
	m.all[id] = mask{key: *k, sparse: sparseOf(k)}
	m.num++
	return id
}

// drop puts a mask out of use.
func (m *masks) drop(id uint32) {
	for o := range m.num {
		if m.order[o] == id {
			copy(m.order[o:m.num], m.order[o+1:m.num])
			m.num--
			m.order[m.num] = id
			return
		}
	}
}

// exact is the mask of all bits, wide its words.
var (
	exact = func() (k flow.Key) {
		w := k.Words()
		for i := range w {
			w[i] = ^uint64(0)
		}
		return k
	}()
	wide = sparseOf(&exact)
)
