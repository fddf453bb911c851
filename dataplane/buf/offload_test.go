package buf_test

import (
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
)

// Lengths read back as they were written; no field runs into its neighbour.
func TestLengths(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := func(name string, most int) int { return rapid.IntRange(0, most).Draw(rt, name) }
		want := buf.Lengths{
			L2: n("l2", 127), L3: n("l3", 511), L4: n("l4", 255), SegSize: n("seg", 65535),
			OuterL2: n("ol2", 127), OuterL3: n("ol3", 511),
		}
		var b buf.Buf
		b.SetLengths(want)
		if got := b.Lengths(); got != want {
			rt.Fatalf("%+v, want %+v", got, want)
		}
	})
}
