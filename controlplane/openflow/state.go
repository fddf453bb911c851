package openflow

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"baton/dataplane/flow"
)

// NumBuckets is into how many parts a State's digest is split. With 1024, the
// digests of 100,000 entries are 8 KiB and one differing entry costs a list of
// about 100 entries, 2.4 KiB. It is part of the protocol's version.
const NumBuckets = 1024

// EntryID is a hash of an entry's identity (RuleID, Binding.Name, Neighbour.IP).
type EntryID [16]byte

// Bucket is the part of the digest that the entry belongs to.
func (id EntryID) Bucket() int { return int(binary.BigEndian.Uint16(id[:])) % NumBuckets }

// Entry is one entry as the digest sees it.
type Entry struct {
	ID   EntryID
	Hash uint64 // of identity and content
}

// Digest is the digest of a whole State. It does not depend on order. Sum is
// the sum of the entries' hashes, modulo 2^64.
type Digest struct {
	Sum     uint64
	Entries uint64
}

// item is one entry: exactly one of rule, binding, neighbour counts, by kind.
type item struct {
	hash      uint64
	kind      byte
	rule      *flow.Rule
	binding   flow.Binding
	neighbour flow.Neighbour
}

// The kinds of item; also the first byte that is hashed.
const (
	kindRule      byte = 1
	kindBinding   byte = 2
	kindNeighbour byte = 3
)

// State is a set of entries with its digest. It is not safe for concurrent use.
type State struct {
	buckets [NumBuckets]map[EntryID]*item
	sums    [NumBuckets]uint64
	total   Digest
	scratch []byte
}

// NewState is an empty State.
func NewState() *State { return &State{} }

// Digest is the digest of all entries.
func (s *State) Digest() Digest { return s.total }

// Sums is the digest of each bucket.
func (s *State) Sums() []uint64 { return slices.Clone(s.sums[:]) }

// Apply makes the edits of c, deletes first, and returns the entries that it
// touched. It keeps the rules' actions: the caller must not change them.
func (s *State) Apply(c *flow.Change) []EntryID {
	var touched []EntryID
	if c.Replace {
		touched = s.clear()
	}
	for i := range c.DelRules {
		touched = append(touched, s.del(s.ruleKey(&c.DelRules[i])))
	}
	for _, name := range c.DelBindings {
		touched = append(touched, s.del(s.bindingKey(name)))
	}
	for _, ip := range c.DelNeighbours {
		touched = append(touched, s.del(s.neighbourKey(ip)))
	}
	for i := range c.SetRules {
		r := c.SetRules[i]
		touched = append(touched, s.set(s.ruleKey(&r.RuleID), &item{kind: kindRule, rule: &r}))
	}
	for _, b := range c.SetBindings {
		touched = append(touched, s.set(s.bindingKey(b.Name), &item{kind: kindBinding, binding: b}))
	}
	for _, n := range c.SetNeighbours {
		touched = append(touched, s.set(s.neighbourKey(n.IP), &item{kind: kindNeighbour, neighbour: n}))
	}
	return touched
}

func (s *State) clear() []EntryID {
	var gone []EntryID
	for b := range s.buckets {
		for id := range s.buckets[b] {
			gone = append(gone, id)
		}
		s.buckets[b], s.sums[b] = nil, 0
	}
	s.total = Digest{}
	return gone
}

// The keys hash the identity; scratch then holds the bytes of the identity, to
// which set adds those of the content.

func (s *State) ruleKey(id *flow.RuleID) EntryID {
	s.scratch = appendRuleID(append(s.scratch[:0], kindRule), id)
	return hashID(s.scratch)
}

func (s *State) bindingKey(name string) EntryID {
	s.scratch = appendString(append(s.scratch[:0], kindBinding), name)
	return hashID(s.scratch)
}

func (s *State) neighbourKey(ip uint32) EntryID {
	s.scratch = binary.BigEndian.AppendUint32(append(s.scratch[:0], kindNeighbour), ip)
	return hashID(s.scratch)
}

func hashID(b []byte) EntryID {
	h := sha256.Sum256(b)
	return EntryID(h[:16])
}

func (s *State) del(id EntryID) EntryID {
	b := id.Bucket()
	if old := s.buckets[b][id]; old != nil {
		s.sums[b] -= old.hash
		s.total.Sum -= old.hash
		s.total.Entries--
		delete(s.buckets[b], id)
	}
	return id
}

func (s *State) set(id EntryID, x *item) EntryID {
	switch x.kind {
	case kindRule:
		s.scratch = appendContent(s.scratch, x.rule)
	case kindBinding:
		s.scratch = binary.BigEndian.AppendUint64(s.scratch, uint64(x.binding.Number))
		s.scratch = append(s.scratch, x.binding.MAC[:]...)
		s.scratch = binary.BigEndian.AppendUint16(s.scratch, x.binding.MTU)
	case kindNeighbour:
		s.scratch = appendString(s.scratch, x.neighbour.Host)
		s.scratch = append(s.scratch, x.neighbour.MAC[:]...)
	}
	h := sha256.Sum256(s.scratch)
	x.hash = binary.BigEndian.Uint64(h[:])
	s.del(id)
	b := id.Bucket()
	if s.buckets[b] == nil {
		s.buckets[b] = map[EntryID]*item{}
	}
	s.buckets[b][id] = x
	s.sums[b] += x.hash
	s.total.Sum += x.hash
	s.total.Entries++
	return id
}

// appendRuleID writes a rule's identity by the fields' stable numbers, so that
// the digest outlives changes of the structs' layout.
func appendRuleID(b []byte, id *flow.RuleID) []byte {
	b = append(b, byte(id.Table))
	b = binary.BigEndian.AppendUint16(b, id.Priority)
	for i := range allFields {
		f := &allFields[i]
		mask := id.Match.Mask.Get(f.ID)
		if mask == ([16]byte{}) {
			continue
		}
		value := id.Match.Value.Get(f.ID)
		b = append(b, byte(f.ID))
		b = append(b, value[:f.Size]...)
		b = append(b, mask[:f.Size]...)
	}
	return append(b, 0) // no field has this number: what follows is content
}

func appendContent(b []byte, r *flow.Rule) []byte {
	b = binary.BigEndian.AppendUint64(b, r.Cookie)
	for i := range r.Actions {
		a := &r.Actions[i]
		b = append(b, byte(a.Op), byte(a.Table), byte(a.Field), byte(a.Src))
		b = appendString(b, a.Reason.String())
		b = binary.BigEndian.AppendUint64(b, uint64(a.Port))
		b = binary.BigEndian.AppendUint32(b, a.Num)
		b = append(b, a.Value[:]...)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// CountCookie counts the rules with a cookie.
func (s *State) CountCookie(cookie uint64) (n int) {
	for b := range s.buckets {
		for _, x := range s.buckets[b] {
			if x.kind == kindRule && x.rule.Cookie == cookie {
				n++
			}
		}
	}
	return n
}
