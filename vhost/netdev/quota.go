package netdev

import "time"

// Lines that a device may log: as many at once as a session with every ring refused
// makes, then one in a while. A guest that breaks and resets its rings in a loop does
// so thousands of times a second; counters tell of each, the log of some.
const (
	quotaBurst = 2 * 2 * MaxQueuePairs
	quotaEvery = 10 * time.Second
)

// quota is how many lines are left. The zero quota is full.
type quota struct {
	used   int
	since  time.Time // when used was last right
	hidden uint64    // lines refused since the last one that passed
}

// take asks for one line at time now; hidden is how many were refused before it.
func (q *quota) take(now time.Time) (hidden uint64, ok bool) {
	if back := int64(now.Sub(q.since) / quotaEvery); back > 0 {
		q.used -= int(min(back, int64(q.used)))
		q.since = now
	}
	if q.used == quotaBurst {
		q.hidden++
		return 0, false
	}
	q.used++
	hidden, q.hidden = q.hidden, 0
	return hidden, true
}

// warn logs what a guest or front end can bring about at will. Caller holds mu.
func (d *Device) warn(msg string, args ...any) {
	hidden, ok := d.lines.take(time.Now())
	if !ok {
		return
	}
	args = append([]any{"port", d.cfg.Name}, args...)
	if hidden > 0 {
		args = append(args, "not_logged_before", hidden)
	}
	d.logger.Warn(msg, args...)
}
