package openflow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"baton/dataplane/flow"
)

// entryBytes is one entry of a BucketReply on the wire.
const entryBytes = 16 + 8

// Full is all entries as a change that replaces everything, in a fixed order.
func (s *State) Full() flow.Change {
	c := flow.Change{Replace: true}
	for b := range s.buckets {
		for _, id := range sortedIDs(s.buckets[b]) {
			s.buckets[b][id].addSet(&c)
		}
	}
	return c
}

// Subset is what brings the given entries, of a copy of this State that may be
// older, up to date: sets of those that are here; the others are gone and come
// back as ids to delete.
func (s *State) Subset(ids []EntryID) (set flow.Change, gone []EntryID) {
	for _, id := range ids {
		if x := s.buckets[id.Bucket()][id]; x != nil {
			x.addSet(&set)
		} else {
			gone = append(gone, id)
		}
	}
	return set, gone
}

// Deletes is the change that deletes the given entries. Ids that are not here
// are passed over.
func (s *State) Deletes(ids []EntryID) (c flow.Change) {
	for _, id := range ids {
		x := s.buckets[id.Bucket()][id]
		if x == nil {
			continue
		}
		switch x.kind {
		case kindRule:
			c.DelRules = append(c.DelRules, x.rule.RuleID)
		case kindBinding:
			c.DelBindings = append(c.DelBindings, x.binding.Name)
		case kindNeighbour:
			c.DelNeighbours = append(c.DelNeighbours, x.neighbour.IP)
		}
	}
	return c
}

func (x *item) addSet(c *flow.Change) {
	switch x.kind {
	case kindRule:
		c.SetRules = append(c.SetRules, *x.rule)
	case kindBinding:
		c.SetBindings = append(c.SetBindings, x.binding)
	case kindNeighbour:
		c.SetNeighbours = append(c.SetNeighbours, x.neighbour)
	}
}

func sortedIDs(m map[EntryID]*item) []EntryID {
	ids := make([]EntryID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b EntryID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// DifferingBuckets lists the buckets whose sums are not those of the other side.
//
//	error: the other side has another number of buckets
func (s *State) DifferingBuckets(sums []uint64) ([]uint32, error) {
	if len(sums) != NumBuckets {
		return nil, fmt.Errorf("digest of %d buckets; want %d", len(sums), NumBuckets)
	}
	var all []uint32
	for b := range s.sums {
		if s.sums[b] != sums[b] {
			all = append(all, uint32(b))
		}
	}
	return all, nil
}

// EncodeBuckets lists the entries of some buckets, as in BucketReply.
//
//	error: there is no such bucket, or more are asked for than there are
func (s *State) EncodeBuckets(buckets []uint32) ([]byte, error) {
	if len(buckets) > NumBuckets {
		return nil, fmt.Errorf("%d buckets are asked for; there are %d", len(buckets), NumBuckets)
	}
	var out []byte
	for _, b := range buckets {
		if b >= NumBuckets {
			return nil, fmt.Errorf("there is no bucket %d; the last is %d", b, NumBuckets-1)
		}
		for _, id := range sortedIDs(s.buckets[b]) {
			out = append(out, id[:]...)
			out = binary.BigEndian.AppendUint64(out, s.buckets[b][id].hash)
		}
	}
	return out, nil
}

// DecodeBuckets reads what EncodeBuckets wrote.
//
//	error: a length that is not a whole number of entries
func DecodeBuckets(b []byte) ([]Entry, error) {
	if len(b)%entryBytes != 0 {
		return nil, fmt.Errorf("bucket entries of %d bytes in all; want a multiple of %d", len(b), entryBytes)
	}
	all := make([]Entry, 0, len(b)/entryBytes)
	for ; len(b) > 0; b = b[entryBytes:] {
		all = append(all, Entry{EntryID(b[:16]), binary.BigEndian.Uint64(b[16:24])})
	}
	return all, nil
}

// Against compares some buckets with the other side's entries of them, and
// returns what the other side lacks or has otherwise, and what it must delete.
func (s *State) Against(buckets []uint32, remote []Entry) (set flow.Change, gone []EntryID) {
	has := make(map[EntryID]uint64, len(remote))
	for _, e := range remote {
		has[e.ID] = e.Hash
	}
	for _, b := range buckets {
		if b >= NumBuckets {
			continue
		}
		for _, id := range sortedIDs(s.buckets[b]) {
			if h, ok := has[id]; !ok || h != s.buckets[b][id].hash {
				s.buckets[b][id].addSet(&set)
			}
		}
	}
	for _, e := range remote {
		if s.buckets[e.ID.Bucket()][e.ID] == nil {
			gone = append(gone, e.ID)
		}
	}
	return set, gone
}
