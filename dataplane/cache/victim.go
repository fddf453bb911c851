package cache

// stamps is, for each way of a bucket, when its entry was known to be used last: the
// lower half of Cache.now. The truth is in the entry, and may be later: a hit does not
// touch the stamp. So the stamps, a cache line a bucket, tell which entry is worth
// looking at, and only that one is looked at.
type stamps [megaWays]uint32

// oldest is the place in a bucket for a new entry as far as tags and stamps say: an
// empty one, or that of the entry that was not used for longest, and for how many bursts.
func (m *mega) oldest(bucket uint64, now uint64) (at uint32, age uint32) {
	first := uint32(bucket * megaWays)
	for w, t := range &m.buckets[bucket] {
		if t == 0 {
			return first + uint32(w), ^uint32(0)
		}
	}
	for w, s := range &m.stamps[bucket] {
		if a := uint32(now) - s; a > age {
			at, age = uint32(w), a
		}
	}
	return first + at, age
}

// victimLooks is how many entries victim looks at.
const victimLooks = 8

// victim is the place in a bucket for a new entry: an empty one, or that of the entry
// that was not used for longest. False if all were used just now. The stamp of an entry
// that was used since is made anew; if it meets only such ones, victim takes the oldest of
// these few: a bucket full of busy flows does not make a new one dearer.
func (m *mega) victim(bucket uint64, now uint64) (at uint32, ok bool) {
	var longest uint32
	for range victimLooks {
		i, age := m.oldest(bucket, now)
		if age == 0 {
			break
		}
		if m.tag(i) == 0 {
			return i, true
		}
		m.looked++
		stamp, used := &m.stamps[bucket][i%megaWays], uint32(m.entries[i].used)
		if *stamp == used {
			return i, true
		}
		*stamp = used
		if a := uint32(now) - used; a > longest {
			at, longest = i, a
		}
	}
	return at, longest > 0
}
