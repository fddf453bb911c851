package flow

import (
	"fmt"

	"baton/dataplane/stats"
)

// Settable reports whether actions may write the field: registers, and those
// header fields that can change without moving bytes of the frame.
func (id FieldID) Settable() bool {
	switch id {
	case FieldEthDst, FieldEthSrc, FieldIPSrc, FieldIPDst, FieldTOS, FieldL4Src, FieldL4Dst:
		return true
	}
	i, ok := id.Info()
	return ok && !i.Key
}

// Ends reports whether an action with this op ends a rule.
func (op Op) Ends() bool {
	return op == OpGoto || op == OpOutput || op == OpTunnel || op == OpDrop
}

// fieldBits has a one for every bit of Fields that belongs to a field.
var fieldBits = func() (m Fields) {
	for _, i := range AllFields() {
		m.Cover(i.ID)
	}
	return m
}()

// Validate checks what can be known of a rule without the pipeline: that the
// match has no value outside its mask and no bit outside the fields, that each
// action is known and possible, and that exactly the last one ends. Tables are
// the pipeline's to check.
//
//	error: says what is wrong; the caller names the rule
func (r *Rule) Validate() error {
	v, m, all := r.Match.Value.Words(), r.Match.Mask.Words(), fieldBits.Words()
	for i := range m {
		if m[i]&^all[i] != 0 {
			return fmt.Errorf("the match has bits in no field (word %d: %#x): use the fields of this version", i, m[i]&^all[i])
		}
		if v[i]&^m[i] != 0 {
			return fmt.Errorf("the match has value bits outside its mask (word %d: %#x): clear them", i, v[i]&^m[i])
		}
	}
	if len(r.Actions) == 0 {
		return fmt.Errorf("there are no actions: end with goto, output, tunnel or drop")
	}
	for i := range r.Actions {
		a := &r.Actions[i]
		if err := a.validate(); err != nil {
			return fmt.Errorf("action %d: %w", i+1, err)
		}
		if last := i == len(r.Actions)-1; a.Op.Ends() && !last {
			return fmt.Errorf("action %d (%s): actions follow that can never run: remove them", i+1, a.Op)
		} else if last && !a.Op.Ends() {
			return fmt.Errorf("action %d (%s): the last action must be goto, output, tunnel or drop", i+1, a.Op)
		}
	}
	return nil
}

// validate checks one action on its own.
func (a *Action) validate() error {
	switch a.Op {
	case OpSetField:
		return a.validateSet()
	case OpCopyField:
		return a.validateCopy()
	case OpOutput:
		if a.Port == PortTunnel {
			return fmt.Errorf("output to the tunnel port: use the tunnel action")
		}
	case OpDrop:
		if a.Reason == stats.DropNone || int(a.Reason) >= stats.NumDropReasons {
			return fmt.Errorf("drop: unknown reason %d", a.Reason)
		}
	case OpSetFlags:
		if a.Num > 0xffff {
			return fmt.Errorf("set_flags: %#x does not fit in 16 bits", a.Num)
		}
	case OpPunt:
		if a.Num == 0 {
			return fmt.Errorf("punt: the reason must not be 0")
		}
	case OpGoto, OpTunnel, OpDecTTL, OpARPReply, OpEchoReply:
	default:
		return fmt.Errorf("unknown action %d", a.Op)
	}
	return nil
}

// validateSet checks a set_field action.
func (a *Action) validateSet() error {
	i, ok := a.Field.Info()
	if !ok {
		return fmt.Errorf("set_field: unknown field %d", a.Field)
	}
	if !a.Field.Settable() {
		return fmt.Errorf("set_field: %s cannot be written", a.Field)
	}
	for _, b := range a.Value[i.Size:] {
		if b != 0 {
			return fmt.Errorf("set_field: the value is longer than the %d bytes of %s", i.Size, a.Field)
		}
	}
	return nil
}

// validateCopy checks a copy_field action.
func (a *Action) validateCopy() error {
	dst, ok := a.Field.Info()
	if !ok {
		return fmt.Errorf("copy_field: unknown field %d", a.Field)
	}
	src, ok := a.Src.Info()
	if !ok {
		return fmt.Errorf("copy_field: unknown field %d", a.Src)
	}
	if !a.Field.Settable() {
		return fmt.Errorf("copy_field: %s cannot be written", a.Field)
	}
	if dst.Size != src.Size {
		return fmt.Errorf("copy_field: %s has %d bytes and %s %d: use fields of one size", a.Src, src.Size, a.Field, dst.Size)
	}
	return nil
}
