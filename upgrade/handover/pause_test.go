package handover_test

import (
	"context"
	"testing"
	"time"
)

// Nobody waits after the last port, for none follows; but canaries are looked at though they are
// all ports.
func TestPause_NotAfterTheLast(t *testing.T) {
	u := newUpgrade(t, 1)
	looked := 0
	alive := u.taker.Alive
	u.taker.Alive = func() error { looked++; return alive() }
	u.giver.Pause, u.giver.Canary, u.giver.CanaryTime = time.Hour, 1, 120*time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := u.run(ctx); err != nil {
		t.Errorf("run: %v", err)
	}
	if err := <-u.took; err != nil {
		t.Errorf("taken: %v", err)
	}
	if looked == 0 {
		t.Error("nobody has looked at the canary")
	}
}
