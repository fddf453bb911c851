package worker

import (
	"sync/atomic"
	"testing"

	"baton/dataplane/port"
)

// Each worker's pulse goes on, whether it polls or sleeps with nobody to wake it.
func TestPulse(t *testing.T) {
	for name, busy := range map[string]bool{"asleep": false, "busy": true} {
		t.Run(name, func(t *testing.T) {
			var pulses [2]atomic.Uint64
			l := newLab(t, func(c *Config) {
				c.Workers, c.BusyPoll = len(pulses), busy
				c.Pulse = func(worker int) *atomic.Uint64 { return &pulses[worker] }
			})
			l.addPort(1, newDouble(t, "a", port.KindVhost, 2))
			for i := range pulses {
				for range 3 {
					last := pulses[i].Load()
					eventually(t, "a beat", func() bool { return pulses[i].Load() > last })
				}
				if slept := l.Workers()[i].Sleeps > 0; slept == busy {
					t.Errorf("worker %d has slept: %v", i, slept)
				}
			}
		})
	}
}
