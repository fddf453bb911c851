package openflow

import (
	"bytes"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// Limits on what the other side may send.
const (
	MaxActions   = 64      // of one rule; the longest rule of the pipeline has about ten
	MaxNameBytes = 255     // of a binding or host
	MaxMessage   = 4 << 20 // bytes of one message: gRPC's own default for receiving
	MaxEntries   = 4 << 20 // of one bundle: what a host can hold, with room
)

// BadEntryError says that an entry cannot be understood; Object names the entry.
type BadEntryError struct {
	Object string
	Reason string
}

// Error is one line.
func (e *BadEntryError) Error() string { return e.Object + ": " + e.Reason }

func badEntry(object, format string, args ...any) error {
	return &BadEntryError{Object: object, Reason: fmt.Sprintf(format, args...)}
}

// RuleName is how errors and logs name a rule.
func RuleName(id flow.RuleID) string {
	return ruleName(uint32(id.Table), uint32(id.Priority))
}

func ruleName(table, priority uint32) string {
	if table <= math.MaxUint8 {
		if name, ok := pipeline.TableName(flow.TableID(table)); ok {
			return fmt.Sprintf("rule of table %d (%s) priority %d", table, name, priority)
		}
	}
	return fmt.Sprintf("rule of table %d priority %d", table, priority)
}

// EncodeRule is r on the wire. The message shares nothing with r.
func EncodeRule(r *flow.Rule) *Rule {
	p := &Rule{Id: EncodeRuleID(&r.RuleID), Cookie: r.Cookie, Actions: make([]*Action, len(r.Actions))}
	for i := range r.Actions {
		p.Actions[i] = encodeAction(&r.Actions[i])
	}
	return p
}

// EncodeRuleID is id on the wire.
func EncodeRuleID(id *flow.RuleID) *RuleID {
	p := &RuleID{Table: uint32(id.Table), Priority: uint32(id.Priority)}
	for _, f := range allFields {
		mask := id.Match.Mask.Get(f.ID)
		if mask == ([16]byte{}) {
			continue
		}
		value := id.Match.Value.Get(f.ID)
		x := &Field{Id: uint32(f.ID), Value: bytes.Clone(value[:f.Size])}
		if mask != allOnes(f.Size) {
			x.Mask = bytes.Clone(mask[:f.Size])
		}
		p.Match = append(p.Match, x)
	}
	return p
}

var allFields = flow.AllFields()

func allOnes(size int) (m [16]byte) {
	for i := range size {
		m[i] = 0xff
	}
	return m
}

func encodeAction(a *flow.Action) *Action {
	p := &Action{
		Op: uint32(a.Op), Table: uint32(a.Table), Field: uint32(a.Field), Src: uint32(a.Src),
		Port: uint64(a.Port), Num: a.Num,
	}
	if a.Reason != stats.DropNone {
		p.Reason = a.Reason.String()
	}
	if v := bytes.TrimRight(a.Value[:], "\x00"); len(v) > 0 {
		p.Value = bytes.Clone(v)
	}
	return p
}

// unknown reports whether a message has fields that this version does not know:
// leaving them out would change what the entry means.
func unknown(m proto.Message) bool { return len(m.ProtoReflect().GetUnknown()) > 0 }

// DecodeRule checks a rule and turns it into the vocabulary.
//
//	error: *BadEntryError; the rule is then zero
func DecodeRule(p *Rule) (flow.Rule, error) {
	if p == nil {
		return flow.Rule{}, badEntry("rule", "empty")
	}
	id, err := DecodeRuleID(p.GetId())
	if err != nil {
		return flow.Rule{}, err
	}
	name := RuleName(id)
	if unknown(p) {
		return flow.Rule{}, badEntry(name, "has parts that this version does not know")
	}
	if len(p.Actions) > MaxActions {
		return flow.Rule{}, badEntry(name, "%d actions; the most is %d", len(p.Actions), MaxActions)
	}
	r := flow.Rule{RuleID: id, Cookie: p.Cookie, Actions: make([]flow.Action, len(p.Actions))}
	for i, x := range p.Actions {
		a, err := decodeAction(x)
		if err != nil {
			return flow.Rule{}, badEntry(name, "action %d: %v", i, err)
		}
		if i < len(p.Actions)-1 && ends(a.Op) {
			return flow.Rule{}, badEntry(name, "action %d ends the walk but is not the last", i)
		}
		r.Actions[i] = a
	}
	return r, nil
}

func ends(op flow.Op) bool {
	return op == flow.OpGoto || op == flow.OpOutput || op == flow.OpTunnel || op == flow.OpDrop
}

// DecodeRuleID checks a rule's identity and turns it into the vocabulary.
//
//	error: *BadEntryError; the identity is then zero
func DecodeRuleID(p *RuleID) (flow.RuleID, error) {
	if p == nil {
		return flow.RuleID{}, badEntry("rule", "without table, priority and match")
	}
	name := ruleName(p.Table, p.Priority)
	if _, ok := pipeline.TableName(flow.TableID(p.Table)); !ok || p.Table > math.MaxUint8 {
		return flow.RuleID{}, badEntry(name, "there is no such table")
	}
	if p.Priority > math.MaxUint16 {
		return flow.RuleID{}, badEntry(name, "the highest priority is %d", math.MaxUint16)
	}
	if unknown(p) {
		return flow.RuleID{}, badEntry(name, "has parts that this version does not know")
	}
	id := flow.RuleID{Table: flow.TableID(p.Table), Priority: uint16(p.Priority)}
	last := uint32(0)
	for _, f := range p.Match {
		if f.GetId() <= last {
			return flow.RuleID{}, badEntry(name, "match fields are not in ascending order at field %d", f.GetId())
		}
		last = f.GetId()
		if err := decodeField(&id.Match, f); err != nil {
			return flow.RuleID{}, badEntry(name, "match: %v", err)
		}
	}
	return id, nil
}

func fieldInfo(id uint32) (flow.FieldInfo, error) {
	if id > math.MaxUint8 {
		return flow.FieldInfo{}, fmt.Errorf("there is no field %d", id)
	}
	i, ok := flow.FieldID(id).Info()
	if !ok {
		return flow.FieldInfo{}, fmt.Errorf("there is no field %d", id)
	}
	return i, nil
}

func decodeField(m *flow.Match, f *Field) error {
	i, err := fieldInfo(f.Id)
	if err != nil {
		return err
	}
	if unknown(f) {
		return fmt.Errorf("field %s has parts that this version does not know", i.Name)
	}
	if len(f.Value) != i.Size || (len(f.Mask) != 0 && len(f.Mask) != i.Size) {
		return fmt.Errorf("field %s has a value of %d and a mask of %d bytes; want %d", i.Name, len(f.Value), len(f.Mask), i.Size)
	}
	mask := allOnes(i.Size)
	if len(f.Mask) != 0 {
		if mask = ([16]byte{}); bytes.Equal(f.Mask, mask[:i.Size]) {
			return fmt.Errorf("field %s has an empty mask", i.Name)
		}
		copy(mask[:], f.Mask)
	}
	var value [16]byte
	copy(value[:], f.Value)
	for n := range value {
		if value[n]&^mask[n] != 0 {
			return fmt.Errorf("field %s has value bits outside its mask", i.Name)
		}
	}
	m.Value.Put(i.ID, value)
	m.Mask.Put(i.ID, mask)
	return nil
}
