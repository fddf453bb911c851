package vmc_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"baton/controlplane/model"
)

// Settled returns when the sink was told what a host's state means, and not before it is there.
func TestSettled(t *testing.T) {
	v, f, s := start(t, host(1), host(2), &model.Switch{Name: "a", VNI: 1}, port("a", 1))
	wait(t, v, 5)
	at := func(h *model.Host) bool { return h.Status.AtAlternate }
	why := errors.New("not yet")
	ctx, stop := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, why)
	defer stop()
	if err := v.Settled(ctx, "h1", at); !errors.Is(err, why) || !strings.Contains(err.Error(), "h1") {
		t.Errorf("before: %v", err)
	}
	done := make(chan error)
	go func() { done <- v.Settled(t.Context(), "h1", at) }()
	h := host(1)
	h.Alternate, h.Status.AtAlternate = h.Underlay.Addr.Next().Next(), true
	f.change(set(h))
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.check(t, f)
}
