package worker

import "context"

// Round returns when each worker has gone through all of its queues since it was called; one that
// has had more than its share may have missed this turn. A worker that sleeps is woken: where CPUs
// are short it may have been called long ago by packets that it has not come to take, and holds
// nothing, so that Quiesce and Barrier do not wait for it.
//
//	error: ctx's, when it ended first
func (p *Pool) Round(ctx context.Context) error {
	for _, w := range p.workers {
		// What has begun after the one that may be under way, and is over.
		for i, from := 0, w.epoch.Load(); w.state.Load() != stateOff && w.epoch.Load() < from+2; i++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if w.state.Load() == stateAsleep {
				w.waker.wake()
			}
			backOff(i)
		}
	}
	return nil
}
