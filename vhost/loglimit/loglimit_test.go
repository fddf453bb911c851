package loglimit

import (
	"bytes"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestLimit(t *testing.T) {
	const burst, every = 32, 10 * time.Second
	q := limit{burst: burst, every: every}
	now := time.Unix(1000, 0)
	for i := range burst {
		if hidden, ok := q.take(now); !ok || hidden != 0 {
			t.Fatalf("line %d refused", i)
		}
	}
	for range 7 {
		now = now.Add(every / 8)
		if _, ok := q.take(now); ok {
			t.Fatal("more than the quota")
		}
	}
	now = now.Add(every / 8)
	if hidden, ok := q.take(now); !ok || hidden != 7 {
		t.Fatalf("%v, %d hidden, want 7", ok, hidden)
	}
	if _, ok := q.take(now); ok {
		t.Fatal("a second line")
	}
	now = now.Add(1000 * burst * every)
	n := 0
	for ; n <= burst; n++ {
		if _, ok := q.take(now); !ok {
			break
		}
	}
	if n != burst {
		t.Errorf("%d lines after a long silence, want %d", n, burst)
	}
}

// Lines that pass tell of those that did not, and what With makes has no limit of its own.
func TestNew(t *testing.T) {
	var out bytes.Buffer
	log := New(hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true}), 2, time.Hour)
	log.Info("one", "a", 1)
	log.With("port", "vm1").Warn("two")
	log.Warn("three")
	log.With("port", "vm1").Info("four")
	log.Error("five")
	limit := log.(logger).limit
	limit.used = 0
	log.Warn("six", "b", 2)
	want := "[INFO]  one: a=1\n[WARN]  two: port=vm1\n[ERROR] five\n[WARN]  six: b=2 not_logged_before=2\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
