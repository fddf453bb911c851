package machine

import (
	"context"
	"time"
)

// Sleep lets a time pass.
//
//	error: ctx's, at once when it ends
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
