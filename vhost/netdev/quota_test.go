package netdev

import (
	"testing"
	"time"
)

func TestQuota(t *testing.T) {
	var q quota
	now := time.Unix(1000, 0)
	for i := range quotaBurst {
		if hidden, ok := q.take(now); !ok || hidden != 0 {
			t.Fatalf("line %d refused", i)
		}
	}
	for range 7 {
		now = now.Add(quotaEvery / 8)
		if _, ok := q.take(now); ok {
			t.Fatal("more than the quota")
		}
	}
	now = now.Add(quotaEvery / 8)
	if hidden, ok := q.take(now); !ok || hidden != 7 {
		t.Fatalf("%v, %d hidden, want 7", ok, hidden)
	}
	if _, ok := q.take(now); ok {
		t.Fatal("a second line")
	}
	now = now.Add(1000 * quotaBurst * quotaEvery)
	n := 0
	for ; n <= quotaBurst; n++ {
		if _, ok := q.take(now); !ok {
			break
		}
	}
	if n != quotaBurst {
		t.Errorf("%d lines after a long silence, want %d", n, quotaBurst)
	}
}
