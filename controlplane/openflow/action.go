package openflow

import (
	"errors"
	"fmt"
	"math"

	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// decodeAction turns an action into the vocabulary. It accepts only what the
// operation uses: other parts must be zero.
func decodeAction(p *Action) (flow.Action, error) {
	if p == nil {
		return flow.Action{}, errors.New("empty")
	}
	if unknown(p) {
		return flow.Action{}, errors.New("has parts that this version does not know")
	}
	if p.Op > math.MaxUint8 || p.Table > math.MaxUint8 || p.Field > math.MaxUint8 || p.Src > math.MaxUint8 {
		return flow.Action{}, fmt.Errorf("operation %d, table %d, field %d or source %d is beyond 255", p.Op, p.Table, p.Field, p.Src)
	}
	a := flow.Action{
		Op: flow.Op(p.Op), Table: flow.TableID(p.Table), Field: flow.FieldID(p.Field), Src: flow.FieldID(p.Src),
		Port: flow.PortNo(p.Port), Num: p.Num,
	}
	if len(p.Value) > len(a.Value) {
		return flow.Action{}, fmt.Errorf("value of %d bytes; the longest is %d", len(p.Value), len(a.Value))
	}
	copy(a.Value[:], p.Value)
	if p.Reason != "" {
		r, ok := stats.ParseDropReason(p.Reason)
		if !ok || r == stats.DropNone {
			return flow.Action{}, fmt.Errorf("there is no drop reason %q", p.Reason)
		}
		a.Reason = r
	}
	keep, err := operands(&a)
	if err != nil {
		return flow.Action{}, err
	}
	if keep != a {
		return flow.Action{}, fmt.Errorf("operation %d has operands that it does not use", p.Op)
	}
	return a, nil
}

// operands checks a's operands and returns a with only those that its operation uses.
func operands(a *flow.Action) (flow.Action, error) {
	keep := flow.Action{Op: a.Op}
	switch a.Op {
	case flow.OpSetField:
		return keepSet(a, keep)
	case flow.OpCopyField:
		return keepCopy(a, keep)
	case flow.OpGoto:
		if _, ok := pipeline.TableName(a.Table); !ok {
			return keep, fmt.Errorf("goto table %d: there is no such table", a.Table)
		}
		keep.Table = a.Table
	case flow.OpOutput:
		if a.Port == flow.PortNone {
			return keep, errors.New("output to no port")
		}
		keep.Port = a.Port
	case flow.OpDrop:
		if a.Reason == stats.DropNone {
			return keep, errors.New("drop without a reason")
		}
		keep.Reason = a.Reason
	case flow.OpARPReply:
		copy(keep.Value[:6], a.Value[:6])
	case flow.OpSetFlags:
		if a.Num > math.MaxUint16 {
			return keep, fmt.Errorf("flags %#x are wider than 16 bits", a.Num)
		}
		keep.Num = a.Num
	case flow.OpPunt:
		keep.Num = a.Num
	case flow.OpTunnel, flow.OpDecTTL, flow.OpEchoReply:
	default:
		return keep, fmt.Errorf("there is no operation %d", a.Op)
	}
	return keep, nil
}

func keepSet(a *flow.Action, keep flow.Action) (flow.Action, error) {
	i, err := fieldInfo(uint32(a.Field))
	if err != nil {
		return keep, fmt.Errorf("set: %w", err)
	}
	keep.Field = a.Field
	copy(keep.Value[:i.Size], a.Value[:i.Size])
	return keep, nil
}

func keepCopy(a *flow.Action, keep flow.Action) (flow.Action, error) {
	dst, err := fieldInfo(uint32(a.Field))
	if err != nil {
		return keep, fmt.Errorf("copy: %w", err)
	}
	src, err := fieldInfo(uint32(a.Src))
	if err != nil {
		return keep, fmt.Errorf("copy: %w", err)
	}
	if dst.Size != src.Size {
		return keep, fmt.Errorf("copy of %s (%d bytes) to %s (%d bytes)", src.Name, src.Size, dst.Name, dst.Size)
	}
	keep.Field, keep.Src = a.Field, a.Src
	return keep, nil
}
