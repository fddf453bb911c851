package netdev

import "time"

// Lines that a device may log: as many at once as a session with every ring refused
// makes, then one in a while. A guest that breaks and resets its rings in a loop does
// so thousands of times a second.
const (
	quotaBurst = 2 * 2 * MaxQueuePairs
	quotaEvery = 10 * time.Second
)

// warn logs what a guest or front end can bring about at will.
func (d *Device) warn(msg string, args ...any) {
	d.logger.Warn(msg, append([]any{"port", d.cfg.Name}, args...)...)
}
