package pipeline_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
)

// alike are rules that differ in little: in each field's value or mask, in the
// priority, in the table.
func alike() (rs rules) {
	drop := flow.Drop(stats.DropNoRoute)
	for _, i := range flow.AllFields() {
		var mask, one, two [16]byte
		mask[i.Size-1], one[i.Size-1], two[i.Size-1] = 0xf, 1, 2
		m := flow.Match{}.WithMasked(i.ID, one, mask)
		rs.add(pipeline.TableConvertPhyLogical, 1, m, drop)
		rs.add(pipeline.TableConvertPhyLogical, 2, m, drop)
		rs.add(pipeline.TableLRPIngressIPRoute, 1, m, drop)
		rs.add(pipeline.TableConvertPhyLogical, 1, flow.Match{}.With(i.ID, one), drop)
		rs.add(pipeline.TableConvertPhyLogical, 1, flow.Match{}.With(i.ID, two), drop)
	}
	rs.add(pipeline.TableConvertPhyLogical, 1, flow.Match{}, drop)
	return rs
}

// credit gives rule number n of rs n+1 packets, and many bytes.
func credit(t *testing.T, p *pipeline.Pipeline, rs rules) {
	t.Helper()
	s := p.Snapshot()
	for n := range rs {
		r := s.Table(rs[n].Table).Get(&rs[n].RuleID)
		if r == nil {
			t.Fatalf("no rule %v", rs[n])
		}
		p.Counters().Add(r.Ref, uint64(n+1), uint64(n+1)<<40)
	}
}

// TestRestoreCounters: each rule that is there gets what it had in the other process, be
// its actions other ones, besides what it has; the rest is skipped.
func TestRestoreCounters(t *testing.T) {
	rs := alike()
	old := pipeline.New()
	apply(t, old, flow.Change{SetRules: slices.Clone(rs)})
	credit(t, old, rs)
	all := old.ExportCounters()

	p := pipeline.New()
	var kept rules
	const third = 3 // is not there any more
	for n := len(rs) - 1; n >= 0; n-- {
		if n%third == 0 {
			continue
		}
		r := rs[n]
		r.Cookie, r.Actions = 7, []flow.Action{flow.Drop(stats.DropNotIP)}
		kept = append(kept, r)
	}
	kept.add(pipeline.TableConvertPhyLogical, 3, flow.Match{}, flow.Drop(stats.DropNotIP)) // new
	s := apply(t, p, flow.Change{SetRules: slices.Clone(kept)})
	for range 2 { // the counters add up
		if num, err := p.RestoreCounters(all); err != nil || num != len(kept)-1 {
			t.Fatalf("%d rules, %v, want %d", num, err, len(kept)-1)
		}
	}
	for n := range rs {
		r := s.Table(rs[n].Table).Get(&rs[n].RuleID)
		if r == nil {
			continue
		}
		packets, bytes := p.Counters().Load(r.Ref)
		if want := 2 * uint64(n+1); packets != want || bytes != want<<40 {
			t.Errorf("%v: %d packets, %d bytes, want %d", r, packets, bytes, want)
		}
	}
	if n := len(pipeline.New().ExportCounters()); n != 0 {
		t.Errorf("no rules take %d bytes", n)
	}
	if num, err := p.RestoreCounters(nil); num != 0 || err != nil {
		t.Errorf("nothing restores %d rules, %v", num, err)
	}
}

// TestRestoreCounters_damaged: what is no list adds nothing.
func TestRestoreCounters_damaged(t *testing.T) {
	rs := alike()[:3]
	p := pipeline.New()
	apply(t, p, flow.Change{SetRules: slices.Clone(rs)})
	credit(t, p, rs)
	all := p.ExportCounters()
	one := len(all) / 3
	for n := range all {
		if n%one == 0 {
			continue // whole ones
		}
		if num, err := p.RestoreCounters(all[:n]); !errors.Is(err, pipeline.ErrCounters) || num != 0 {
			t.Errorf("%d bytes of %d: %d rules, %v", n, len(all), num, err)
		}
	}
	long := append(slices.Clone(all), all[:16]...)
	long = append(long, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1)
	if _, err := p.RestoreCounters(long); !errors.Is(err, pipeline.ErrCounters) {
		t.Errorf("a number of more than 64 bits: %v", err)
	}
	if got := p.ExportCounters(); !slices.Equal(got, all) {
		t.Error("something was added")
	}
}

func FuzzRestoreCounters(f *testing.F) {
	p := pipeline.New()
	rs := alike()[:8]
	if _, err := p.Apply(flow.Change{SetRules: slices.Clone(rs)}); err != nil {
		f.Fatal(err)
	}
	for _, r := range p.Snapshot().Rules() {
		p.Counters().Add(r.Ref, 1, 1<<60)
	}
	f.Add(p.ExportCounters())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p := pipeline.New()
		apply(t, p, flow.Change{SetRules: slices.Clone(rs)})
		num, err := p.RestoreCounters(b)
		if err != nil && (num != 0 || len(p.ExportCounters()) != 0) {
			t.Errorf("%d rules were added to in spite of %v", num, err)
		}
	})
}

// routes are num rules, as a host of a large network has.
func routes(num int) (rs rules) {
	for i := range num {
		m := inSwitch(uint32(1+i/256)).WithMAC(flow.FieldEthDst, flow.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)})
		rs.add(pipeline.TableLSPIngressLookupDstPort, 40, m, flow.Drop(stats.DropNoRoute))
	}
	return rs
}

// TestRestoreCounters_many: of 100 000 rules with large counters.
func TestRestoreCounters_many(t *testing.T) {
	const num, most = 100_000, 5 << 20
	rs := routes(num)
	p := pipeline.New()
	apply(t, p, flow.Change{SetRules: rs})
	credit(t, p, rs)
	begin := time.Now()
	all := p.ExportCounters()
	exported := time.Now()
	n, err := p.RestoreCounters(all)
	t.Logf("%d bytes, exported in %v, restored in %v", len(all), exported.Sub(begin), time.Since(exported))
	if err != nil || n != num || len(all) > most {
		t.Errorf("%d rules of %d, %v, %d bytes", n, num, err, len(all))
	}
}
