package hist_test

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"baton/bench/hist"
)

// values over all magnitudes.
func values(t *rapid.T) []uint64 {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) uint64 {
		return rapid.Uint64().Draw(t, "v") >> rapid.IntRange(0, 63).Draw(t, "shift")
	}), 1, 200).Draw(t, "values")
}

// A quantile is between the true one and 1/32 above it.
func TestQuantile(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var h hist.Hist
		all := values(rt)
		for _, v := range all {
			h.Record(v)
		}
		slices.Sort(all)
		q := rapid.Float64Range(0, 1).Draw(rt, "q")
		rank := max(int(math.Ceil(q*float64(len(all)))), 1)
		want := all[rank-1]
		if got := h.Quantile(q); got < want || got-want > want/32 {
			rt.Fatalf("quantile %v of %v: %d, want %d", q, all, got, want)
		}
		if h.Min() != all[0] || h.Max() != all[len(all)-1] || h.Count() != uint64(len(all)) {
			rt.Fatalf("min %d, max %d, count %d", h.Min(), h.Max(), h.Count())
		}
	})
}

// Above counts what exceeds a value's bucket, and never what does not exceed the value.
func TestAbove(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var h hist.Hist
		all := values(rt)
		for _, v := range all {
			h.Record(v)
		}
		limit := rapid.SampledFrom(all).Draw(rt, "limit")
		least, most := uint64(0), uint64(0)
		for _, v := range all {
			if v > limit {
				most++
			}
			if v > limit && v-limit > limit/32 {
				least++
			}
		}
		if got := h.Above(limit); got < least || got > most {
			rt.Fatalf("%d above %d, want %d to %d", got, limit, least, most)
		}
	})
}

func TestJSON_MergeIsTheSame(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var a, b, both, back hist.Hist
		for i, v := range values(rt) {
			both.Record(v)
			if i%2 == 0 {
				a.Record(v)
			} else {
				b.Record(v)
			}
		}
		a.Merge(&b)
		raw, err := json.Marshal(&a)
		if err != nil {
			rt.Fatal(err)
		}
		if err := json.Unmarshal(raw, &back); err != nil {
			rt.Fatal(err)
		}
		if back != both {
			rt.Fatalf("%s", raw)
		}
	})
	var h hist.Hist
	if json.Unmarshal([]byte(`{"buckets":[{"le":130,"count":1}]}`), &h) == nil || h.Count() != 0 {
		t.Error("a bucket that does not exist was taken")
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	h := new(hist.Hist)
	v := uint64(1)
	if n := testing.AllocsPerRun(1000, func() { h.Record(v); v = v*3 + 1 }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	h := new(hist.Hist)
	for i := range b.N {
		h.Record(uint64(i))
	}
}
