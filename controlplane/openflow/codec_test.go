package openflow_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"baton/controlplane/openflow"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

func TestRule_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genRule(t)
		wire, err := proto.Marshal(openflow.EncodeRule(&want))
		if err != nil {
			t.Fatal(err)
		}
		p := &openflow.Rule{}
		if err := proto.Unmarshal(wire, p); err != nil {
			t.Fatal(err)
		}
		got, err := openflow.DecodeRule(p)
		if err != nil {
			t.Fatalf("a valid rule is refused: %v", err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(flow.Key{}, flow.Regs{})); d != "" {
			t.Fatalf("rule (-sent +got):\n%s", d)
		}
	})
}

func TestBatches_RoundTripAndSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := rapid.SliceOfN(rapid.Custom(genRule), 1, 6).Draw(t, "pool")
		want := genChange(t, pool)
		ids := make([]openflow.EntryID, rapid.IntRange(0, 2000).Draw(t, "ids"))
		for i := range ids {
			ids[i][0], ids[i][1] = byte(i), byte(i>>8)
		}
		got := flow.Change{Replace: want.Replace}
		var gotIDs []openflow.EntryID
		for _, b := range openflow.EncodeChange(&want, ids) {
			if n := b.Entries(); n == 0 || n > 1024 {
				t.Fatalf("batch of %d entries", n)
			}
			if err := openflow.DecodeBatch(b, &got, &gotIDs); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(flow.Key{}, flow.Regs{})); d != "" {
			t.Fatalf("change (-sent +got):\n%s", d)
		}
		if len(ids) != len(gotIDs) || len(ids) > 0 && ids[len(ids)-1] != gotIDs[len(ids)-1] {
			t.Fatalf("%d entry ids sent, %d came", len(ids), len(gotIDs))
		}
	})
}

func TestBatches_BoundedBytes(t *testing.T) {
	var c flow.Change
	for i := range 5000 {
		r := flow.Rule{RuleID: flow.RuleID{Table: pipeline.TableLRPIngressIPRoute, Priority: uint16(i)}}
		for _, f := range flow.AllFields() {
			r.Match = r.Match.With(f.ID, [16]byte{1})
		}
		for range openflow.MaxActions {
			r.Actions = append(r.Actions, flow.SetUint(flow.FieldDatapath, uint64(i)))
		}
		c.SetRules = append(c.SetRules, r)
	}
	n := 0
	for _, b := range openflow.EncodeChange(&c, nil) {
		if size := proto.Size(b); size > openflow.MaxMessage/4 {
			t.Errorf("batch of %d bytes", size)
		}
		n += len(b.SetRules)
	}
	if n != 5000 {
		t.Errorf("%d rules in the batches", n)
	}
}

func good() *openflow.Rule {
	r := flow.Rule{
		RuleID:  flow.RuleID{Table: pipeline.TableLSPIngressLookupDstPort, Priority: 7, Match: flow.Match{}.WithUint(flow.FieldDatapath, 5)},
		Actions: []flow.Action{flow.SetUint(flow.FieldDstPort, 3), flow.Goto(pipeline.TableLSPIngressOutputDstPort)},
	}
	return openflow.EncodeRule(&r)
}

// unknownField is a field that no message has.
var unknownField = protowire.AppendVarint(protowire.AppendTag(nil, 200, protowire.VarintType), 1)

// withAction makes a the rule's first action.
func withAction(a *openflow.Action) func(*openflow.Rule) {
	return func(r *openflow.Rule) { r.Actions[0] = a }
}

// spoiledRules are what is made of a good rule, and what is said of it.
var spoiledRules = []struct {
	name  string
	spoil func(*openflow.Rule)
	want  string
}{
	{"no id", func(r *openflow.Rule) { r.Id = nil }, "without table"},
	{"unknown table", func(r *openflow.Rule) { r.Id.Table = 5 }, "no such table"},
	{"table beyond a byte", func(r *openflow.Rule) { r.Id.Table += 256 }, "no such table"},
	{"priority", func(r *openflow.Rule) { r.Id.Priority = 1 << 16 }, "highest priority"},
	{"field order", func(r *openflow.Rule) { r.Id.Match = append(r.Id.Match, r.Id.Match[0]) }, "ascending"},
	{"nil field", func(r *openflow.Rule) { r.Id.Match[0] = nil }, "ascending"},
	{"unknown field", func(r *openflow.Rule) { r.Id.Match[0].Id = 31 }, "no field 31"},
	{"huge field", func(r *openflow.Rule) { r.Id.Match[0].Id = 1<<32 - 1 }, "no field"},
	{"short value", func(r *openflow.Rule) { r.Id.Match[0].Value = []byte{1} }, "value of 1"},
	{"long mask", func(r *openflow.Rule) { r.Id.Match[0].Mask = make([]byte, 5) }, "mask of 5"},
	{"empty mask", func(r *openflow.Rule) { r.Id.Match[0].Mask = make([]byte, 4) }, "empty mask"},
	{"outside mask", func(r *openflow.Rule) { r.Id.Match[0].Mask = []byte{255, 0, 0, 0} }, "outside its mask"},
	{"too many actions", func(r *openflow.Rule) { r.Actions = make([]*openflow.Action, 65) }, "65 actions"},
	{"nil action", withAction(nil), "empty"},
	{"unknown op", withAction(&openflow.Action{Op: 12}), "no operation 12"},
	{"op zero", withAction(&openflow.Action{}), "no operation 0"},
	{"op beyond a byte", withAction(&openflow.Action{Op: 257}), "beyond 255"},
	{"ends early", func(r *openflow.Rule) { r.Actions[0] = r.Actions[1] }, "not the last"},
	{"goto nowhere", func(r *openflow.Rule) { r.Actions[1].Table = 9 }, "no such table"},
	{"unused operand", func(r *openflow.Rule) { r.Actions[0].Port = 3 }, "does not use"},
	{"value too wide", func(r *openflow.Rule) { r.Actions[0].Value = []byte{1, 2, 3} }, "does not use"},
	{"value too long", func(r *openflow.Rule) { r.Actions[0].Value = make([]byte, 17) }, "17 bytes"},
	{"set no field", withAction(&openflow.Action{Op: uint32(flow.OpSetField), Field: 99}), "no field 99"},
	{"copy sizes", withAction(&openflow.Action{Op: uint32(flow.OpCopyField), Field: uint32(flow.FieldDatapath), Src: uint32(flow.FieldIPSrc)}), "16 bytes"},
	{"drop without reason", withAction(&openflow.Action{Op: uint32(flow.OpDrop)}), "without a reason"},
	{"drop reason", withAction(&openflow.Action{Op: uint32(flow.OpDrop), Reason: "bored"}), `no drop reason "bored"`},
	{"flags", withAction(&openflow.Action{Op: uint32(flow.OpSetFlags), Num: 1 << 16}), "wider than 16"},
	{"output none", withAction(&openflow.Action{Op: uint32(flow.OpOutput)}), "no port"},
	{"unknown part of rule", func(r *openflow.Rule) { r.ProtoReflect().SetUnknown(unknownField) }, "does not know"},
	{"unknown part of id", func(r *openflow.Rule) { r.Id.ProtoReflect().SetUnknown(unknownField) }, "does not know"},
	{"unknown part of field", func(r *openflow.Rule) { r.Id.Match[0].ProtoReflect().SetUnknown(unknownField) }, "does not know"},
	{"unknown part of action", func(r *openflow.Rule) { r.Actions[0].ProtoReflect().SetUnknown(unknownField) }, "does not know"},
}

func TestRule_Refused(t *testing.T) {
	if _, err := openflow.DecodeRule(good()); err != nil {
		t.Fatal(err)
	}
	for _, c := range spoiledRules {
		t.Run(c.name, func(t *testing.T) {
			r := good()
			c.spoil(r)
			got, err := openflow.DecodeRule(r)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if got.Actions != nil || got.RuleID != (flow.RuleID{}) {
				t.Errorf("a refused rule is not zero: %v", got)
			}
			bad := new(openflow.BadEntryError)
			if !errors.As(err, &bad) || !strings.HasPrefix(bad.Object, "rule") {
				t.Errorf("error %#v does not name the rule", err)
			}
		})
	}
}

func TestBatch_Refused(t *testing.T) {
	mac := make([]byte, 6)
	for _, c := range []struct {
		name string
		b    *openflow.RuleBatch
		want string
	}{
		{"nil", nil, "empty"},
		{"binding without name", &openflow.RuleBatch{SetBindings: []*openflow.Binding{{Mac: mac, Number: 1<<16 | 1}}}, "name of 0"},
		{"binding nil", &openflow.RuleBatch{SetBindings: []*openflow.Binding{nil}}, "name of 0"},
		{"binding name", &openflow.RuleBatch{SetBindings: []*openflow.Binding{{Name: strings.Repeat("x", 256)}}}, "name of 256"},
		{"binding mac", &openflow.RuleBatch{SetBindings: []*openflow.Binding{{Name: "a", Mac: mac[:5], Number: 1<<16 | 1}}}, "MAC of 5"},
		{"binding mtu", &openflow.RuleBatch{SetBindings: []*openflow.Binding{{Name: "a", Mac: mac, Number: 1<<16 | 1, Mtu: 1 << 16}}}, "MTU"},
		{"binding of the tunnel", &openflow.RuleBatch{SetBindings: []*openflow.Binding{{Name: "a", Mac: mac, Number: 1}}}, "not a logical port's"},
		{"binding number", &openflow.RuleBatch{SetBindings: []*openflow.Binding{{Name: "a", Mac: mac, Number: 1<<63 | 1<<16 | 1}}}, "not a logical port's"},
		{"neighbour mac", &openflow.RuleBatch{SetNeighbours: []*openflow.Neighbour{{Ip: 1}}}, "MAC of 0"},
		{"neighbour ip", &openflow.RuleBatch{SetNeighbours: []*openflow.Neighbour{{Mac: mac}}}, "without an underlay"},
		{"entry ids", &openflow.RuleBatch{DelEntries: make([]byte, 17)}, "17 bytes"},
		{"bad after good", &openflow.RuleBatch{SetRules: []*openflow.Rule{good(), {}}}, "without table"},
	} {
		t.Run(c.name, func(t *testing.T) {
			change, del := flow.Change{Replace: true}, []openflow.EntryID{{1}}
			err := openflow.DecodeBatch(c.b, &change, &del)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if len(change.SetRules)+len(change.SetBindings)+len(change.SetNeighbours) != 0 || len(del) != 1 {
				t.Errorf("a refused batch left something behind: %v %v", change, del)
			}
		})
	}
}

func TestCollector_AllOrNothing(t *testing.T) {
	batch := func(id uint64) *openflow.RuleBatch {
		return &openflow.RuleBatch{Bundle: id, SetRules: []*openflow.Rule{good()}}
	}
	var c openflow.Collector
	if err := c.Add(batch(1)); err == nil {
		t.Error("a batch without a bundle was taken")
	}
	if _, err := c.Commit(&openflow.BundleCommit{Id: 1}); err == nil {
		t.Error("a commit without a bundle was taken")
	}
	c.Begin(&openflow.BundleBegin{Id: 1, Revision: 9, Replace: true})
	if c.Add(batch(2)) == nil {
		t.Error("a batch of another bundle was taken")
	}
	if err := errors.Join(c.Add(batch(1)), c.Add(batch(1))); err != nil {
		t.Fatal(err)
	}
	b, err := c.Commit(&openflow.BundleCommit{Id: 1, Batches: 2})
	if err != nil || b.Revision != 9 || !b.Change.Replace || len(b.Change.SetRules) != 2 {
		t.Fatalf("bundle %+v, error %v", b, err)
	}
	if got := b.Resolve(openflow.NewState()); len(got.SetRules) != 1 {
		t.Errorf("a rule that is set twice is applied %d times", len(got.SetRules))
	}
	c.Begin(&openflow.BundleBegin{Id: 3})
	_ = c.Add(batch(3))
	if _, err := c.Commit(&openflow.BundleCommit{Id: 3, Batches: 2}); err == nil {
		t.Error("a bundle that lacks a batch was committed")
	}
	c.Begin(&openflow.BundleBegin{Id: 4})
	bad := batch(4)
	bad.SetRules[0].Id.Table = 250
	if c.Add(bad) == nil {
		t.Error("a bad batch was taken")
	}
	if err := c.Add(batch(4)); err != nil {
		t.Errorf("the error is said twice: %v", err)
	}
	if _, err := c.Commit(&openflow.BundleCommit{Id: 4, Batches: 2}); err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("a bundle with a bad batch: %v", err)
	}
}

func TestChooseVersion(t *testing.T) {
	if v, err := openflow.ChooseVersion([]uint32{7, openflow.Version, 3}); err != nil || v != openflow.Version {
		t.Errorf("version %d, error %v", v, err)
	}
	for _, theirs := range [][]uint32{nil, {0}, {99}, make([]uint32, 100000)} {
		if _, err := openflow.ChooseVersion(theirs); err == nil || len(err.Error()) > 300 {
			t.Errorf("versions %v: error %v", theirs[:min(3, len(theirs))], err)
		}
	}
}

func TestErrorMessage_KeepsObject(t *testing.T) {
	_, err := openflow.DecodeRule(&openflow.Rule{Id: &openflow.RuleID{Table: 250}})
	m := openflow.ErrorMessage(5, openflow.Error_CODE_APPLY, fmt.Errorf("bundle 3: %w", err))
	e, ok := openflow.AsPeerError(m)
	if !ok || e.Code != openflow.Error_CODE_BAD_RULE || e.Xid != 5 || e.Object != "rule of table 250 priority 0" {
		t.Errorf("error %+v", e)
	}
}

func FuzzBatch(f *testing.F) {
	pool := []flow.Rule{{
		RuleID:  flow.RuleID{Table: pipeline.TableLRPIngressIPRoute, Priority: 3, Match: flow.Match{}.WithUint(flow.FieldDatapath, 3)},
		Actions: []flow.Action{flow.SetUint(flow.FieldDstPort, 1), flow.Drop(stats.DropNoRoute)},
	}}
	c := flow.Change{
		SetRules: pool, DelRules: []flow.RuleID{pool[0].RuleID}, DelBindings: []string{"x"}, DelNeighbours: []uint32{4},
		SetBindings:   []flow.Binding{{Name: "vm1", Number: flow.LogicalPort(5, 1), MAC: flow.MAC{2}, MTU: 1400}},
		SetNeighbours: []flow.Neighbour{{Host: "h2", IP: 3232238337, MAC: flow.MAC{2, 1}}},
	}
	for _, b := range openflow.EncodeChange(&c, []openflow.EntryID{{1, 2}}) {
		wire, err := proto.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
		f.Add(wire[:len(wire)/2])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &openflow.RuleBatch{}
		if proto.Unmarshal(data, p) != nil {
			return
		}
		var c flow.Change
		var del []openflow.EntryID
		if openflow.DecodeBatch(p, &c, &del) != nil {
			if !c.Empty() || del != nil {
				t.Fatal("a refused batch left something behind")
			}
			return
		}
		var again flow.Change
		var delAgain []openflow.EntryID
		for _, b := range openflow.EncodeChange(&c, del) {
			if err := openflow.DecodeBatch(b, &again, &delAgain); err != nil {
				t.Fatalf("what was decoded does not encode: %v", err)
			}
		}
		if d := cmp.Diff(c, again, cmp.AllowUnexported(flow.Key{}, flow.Regs{})); d != "" || len(del) != len(delAgain) {
			t.Fatalf("decoded %v\nafter a round %v", c, again)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	b, err := openflow.EncodeCheckpoint("h1", 7, &flow.Change{SetNeighbours: []flow.Neighbour{{IP: 4, Host: "x"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _, c, err := openflow.DecodeCheckpoint(data)
		if err != nil && (c.Replace || !c.Empty()) {
			t.Fatal("a refused checkpoint has content")
		}
	})
}
