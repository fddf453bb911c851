package handover

import (
	"testing"
	"time"

	"baton/bench/topology"
)

func TestFrame(t *testing.T) {
	from, to := topology.Far1, vms(3)[2]
	inner := innerFrame(from, to, 7)
	want := mark{run: 2, flow: 300, number: 1 << 40, stamp: time.Hour}
	want.put(inner)
	if got, ok := readMark(opened(tunnelled(from, to, inner))); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	if other := innerFrame(from, to, 8); sameHeaders(inner, other) || !sameHeaders(inner, innerFrame(from, to, 7)) {
		t.Error("headers are not told apart")
	}
}

// What is none of ours is none, however short.
func TestFrame_foreign(t *testing.T) {
	whole := tunnelled(topology.Far1, vms(1)[0], innerFrame(topology.Far1, vms(1)[0], 1))
	for n := range whole {
		if b := opened(whole[:n]); b != nil {
			t.Fatalf("%d of %d bytes are a frame", n, len(whole))
		}
	}
	if _, ok := readMark(opened(whole)); ok {
		t.Error("a frame without a mark has one")
	}
}
