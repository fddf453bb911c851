package handover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"baton/upgrade/wire"
)

// watchEvery is how often a taker that waits is asked whether it is well.
const watchEvery = 50 * time.Millisecond

// watch waits, and asks the taker meanwhile whether it is well.
//
//	error: it is not, or gives no answer; ctx has ended
func (g *Giver) watch(ctx context.Context, wait time.Duration) error {
	for until := time.Now().Add(wait); ; {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		if err := g.listen(ctx, min(left, watchEvery)); err != nil {
			return err
		}
		if _, err := g.ask(step{Step: stepBeat}, beatLimit); err != nil {
			return err
		}
		if err := g.Check(); err != nil {
			return err
		}
	}
}

// listen waits, as long as the taker has nothing to say, which it has not if it lives.
//
//	error: it has died; ctx has ended
func (g *Giver) listen(ctx context.Context, wait time.Duration) error {
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(over)
		_ = g.Conn.SetDeadline(time.Unix(1, 0)) // an open socket takes it
	})
	err := g.Conn.SetDeadline(time.Now().Add(wait))
	if err == nil {
		err = g.Conn.Await()
	}
	if !stop() {
		<-over // else it would hide a later deadline
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	}
	g.deaf = true
	if err == nil {
		var sec wire.Section
		if sec, err = g.Conn.Receive(); err == nil {
			sec.Close()
			return fmt.Errorf("handover: %w: %v, and it was not asked", wire.ErrFormat, sec.Tag)
		}
	}
	return because(err)
}
