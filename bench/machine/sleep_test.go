package machine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"baton/bench/machine"
)

// A sleep lasts as long as it should, or until its context ends.
func TestSleep(t *testing.T) {
	begin := time.Now()
	if err := machine.Sleep(t.Context(), time.Millisecond); err != nil || time.Since(begin) < time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, d := range []time.Duration{0, time.Hour} {
		if err := machine.Sleep(ctx, d); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: %v", d, err)
		}
	}
}
