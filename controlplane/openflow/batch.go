package openflow

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"baton/dataplane/flow"
)

// Size of one RuleBatch: small enough that an echo between two of them is not
// late, large enough that the message's own cost does not count.
const (
	batchEntries = 1024
	batchBytes   = 256 << 10
)

// EncodeChange splits c into batches of bounded size. c.Replace is not in them:
// BundleBegin carries it. An empty change has no batches.
func EncodeChange(c *flow.Change, delEntries []EntryID) []*RuleBatch {
	b := batcher{}
	for i := range c.DelRules {
		b.add(ruleSize(&c.DelRules[i], 0)).DelRules = append(b.last().DelRules, EncodeRuleID(&c.DelRules[i]))
	}
	for i := range c.SetRules {
		r := &c.SetRules[i]
		b.add(ruleSize(&r.RuleID, len(r.Actions))).SetRules = append(b.last().SetRules, EncodeRule(r))
	}
	for _, name := range c.DelBindings {
		b.add(len(name)).DelBindings = append(b.last().DelBindings, name)
	}
	for i := range c.SetBindings {
		b.add(64).SetBindings = append(b.last().SetBindings, encodeBinding(&c.SetBindings[i]))
	}
	for _, ip := range c.DelNeighbours {
		b.add(4).DelNeighbours = append(b.last().DelNeighbours, ip)
	}
	for i := range c.SetNeighbours {
		b.add(64).SetNeighbours = append(b.last().SetNeighbours, encodeNeighbour(&c.SetNeighbours[i]))
	}
	for _, id := range delEntries {
		b.add(len(id)).DelEntries = append(b.last().DelEntries, id[:]...)
	}
	return b.batches
}

// ruleSize is about what a rule takes on the wire, bytes.
func ruleSize(id *flow.RuleID, actions int) int {
	n := 24 + 24*actions
	for _, f := range allFields {
		if id.Match.Mask.Get(f.ID) != ([16]byte{}) {
			n += 8 + 2*f.Size
		}
	}
	return n
}

// batcher opens a new batch when the last one is full.
type batcher struct {
	batches        []*RuleBatch
	entries, bytes int
}

func (b *batcher) last() *RuleBatch { return b.batches[len(b.batches)-1] }

func (b *batcher) add(size int) *RuleBatch {
	if len(b.batches) == 0 || b.entries >= batchEntries || b.bytes+size > batchBytes {
		b.batches = append(b.batches, &RuleBatch{})
		b.entries, b.bytes = 0, 0
	}
	b.entries++
	b.bytes += size
	return b.last()
}

func encodeBinding(b *flow.Binding) *Binding {
	return &Binding{Name: b.Name, Number: uint64(b.Number), Mac: append([]byte(nil), b.MAC[:]...), Mtu: uint32(b.MTU)}
}

func encodeNeighbour(n *flow.Neighbour) *Neighbour {
	return &Neighbour{Host: n.Host, Ip: n.IP, Mac: append([]byte(nil), n.MAC[:]...)}
}

func decodeBinding(p *Binding) (flow.Binding, error) {
	if p == nil || p.Name == "" || len(p.Name) > MaxNameBytes {
		return flow.Binding{}, badEntry("binding", "has a name of %d bytes; want 1 to %d", len(p.GetName()), MaxNameBytes)
	}
	name := fmt.Sprintf("binding %q", p.Name)
	switch {
	case unknown(p):
		return flow.Binding{}, badEntry(name, "has parts that this version does not know")
	case len(p.Mac) != 6:
		return flow.Binding{}, badEntry(name, "MAC of %d bytes", len(p.Mac))
	case p.Mtu > math.MaxUint16:
		return flow.Binding{}, badEntry(name, "MTU %d is above %d", p.Mtu, math.MaxUint16)
	case p.Number>>40 != 0 || flow.PortNo(p.Number).VNI() == 0 || flow.PortNo(p.Number).ID() == 0:
		return flow.Binding{}, badEntry(name, "port number %#x is not a logical port's", p.Number)
	}
	return flow.Binding{Name: p.Name, Number: flow.PortNo(p.Number), MAC: flow.MAC(p.Mac), MTU: uint16(p.Mtu)}, nil
}

func decodeNeighbour(p *Neighbour) (flow.Neighbour, error) {
	if p == nil || len(p.Host) > MaxNameBytes {
		return flow.Neighbour{}, badEntry("neighbour", "has a host name of %d bytes; the most is %d", len(p.GetHost()), MaxNameBytes)
	}
	name := fmt.Sprintf("neighbour %q", p.Host)
	switch {
	case unknown(p):
		return flow.Neighbour{}, badEntry(name, "has parts that this version does not know")
	case len(p.Mac) != 6:
		return flow.Neighbour{}, badEntry(name, "MAC of %d bytes", len(p.Mac))
	case p.Ip == 0:
		return flow.Neighbour{}, badEntry(name, "without an underlay address")
	}
	return flow.Neighbour{Host: p.Host, IP: p.Ip, MAC: flow.MAC(p.Mac)}, nil
}

// DecodeBatch adds the entries of a batch to c and its entry ids to del.
//
//	error: *BadEntryError; c and del are then as they were
func DecodeBatch(p *RuleBatch, c *flow.Change, del *[]EntryID) error {
	if p == nil {
		return badEntry("batch", "empty")
	}
	if unknown(p) {
		return badEntry("batch", "has parts that this version does not know")
	}
	if len(p.DelEntries)%len(EntryID{}) != 0 {
		return badEntry("batch", "entry ids of %d bytes in all; want a multiple of %d", len(p.DelEntries), len(EntryID{}))
	}
	next := *c
	if err := decodeRules(p, &next); err != nil {
		return err
	}
	if err := decodeOthers(p, &next); err != nil {
		return err
	}
	for i := 0; i < len(p.DelEntries); i += len(EntryID{}) {
		*del = append(*del, EntryID(p.DelEntries[i:i+len(EntryID{})]))
	}
	*c = next
	return nil
}

func decodeRules(p *RuleBatch, c *flow.Change) error {
	for _, x := range p.SetRules {
		r, err := DecodeRule(x)
		if err != nil {
			return err
		}
		c.SetRules = append(c.SetRules, r)
	}
	for _, x := range p.DelRules {
		id, err := DecodeRuleID(x)
		if err != nil {
			return err
		}
		c.DelRules = append(c.DelRules, id)
	}
	return nil
}

func decodeOthers(p *RuleBatch, c *flow.Change) error {
	for _, x := range p.SetBindings {
		b, err := decodeBinding(x)
		if err != nil {
			return err
		}
		c.SetBindings = append(c.SetBindings, b)
	}
	for _, x := range p.SetNeighbours {
		n, err := decodeNeighbour(x)
		if err != nil {
			return err
		}
		c.SetNeighbours = append(c.SetNeighbours, n)
	}
	c.DelBindings = append(c.DelBindings, p.DelBindings...)
	c.DelNeighbours = append(c.DelNeighbours, p.DelNeighbours...)
	return nil
}

// Entries is how many entries a batch sets or deletes.
func (x *RuleBatch) Entries() int {
	return len(x.SetRules) + len(x.DelRules) + len(x.SetBindings) + len(x.DelBindings) +
		len(x.SetNeighbours) + len(x.DelNeighbours) + len(x.DelEntries)/len(EntryID{})
}

// EncodeCheckpoint is the bytes of a host's applied state.
func EncodeCheckpoint(host string, revision int64, full *flow.Change) ([]byte, error) {
	all := &RuleBatch{}
	for _, b := range EncodeChange(full, nil) {
		all.SetRules = append(all.SetRules, b.SetRules...)
		all.SetBindings = append(all.SetBindings, b.SetBindings...)
		all.SetNeighbours = append(all.SetNeighbours, b.SetNeighbours...)
	}
	return proto.Marshal(&Checkpoint{Host: host, Revision: revision, Content: all})
}

// DecodeCheckpoint reads what EncodeCheckpoint wrote. The change replaces all.
//
//	error: the bytes are no checkpoint, or have an entry that is not understood
func DecodeCheckpoint(b []byte) (host string, revision int64, c flow.Change, err error) {
	p := &Checkpoint{}
	if err := proto.Unmarshal(b, p); err != nil {
		return "", 0, flow.Change{}, err
	}
	c.Replace = true
	if p.Content != nil {
		if err := DecodeBatch(p.Content, &c, new([]EntryID)); err != nil {
			return "", 0, flow.Change{}, err
		}
	}
	return p.Host, p.Revision, c, nil
}
