package machine

import (
	"context"
	"errors"
	"testing"
)

// Who comes second waits until the first is done, and no longer than its context.
func TestAlone(t *testing.T) {
	name := "baton-" + t.Name() // somebody may measure just now
	done, err := alone(t.Context(), name, func() { t.Error("waits for nobody") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := alone(ctx, name, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	waited := false
	second, err := alone(t.Context(), name, func() { waited = true; done() })
	if err != nil || !waited {
		t.Fatalf("waited %v, %v", waited, err)
	}
	second()
}
