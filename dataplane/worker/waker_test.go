package worker

import (
	"testing"
	"time"
)

// Both ways to sleep end when somebody wakes the worker, before it sleeps or while, and by their time. A
// nap is also ended by signals, as when the scheduler wants the goroutine.
func TestWaker(t *testing.T) {
	k, err := newWaker()
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	for name, sleep := range map[string]func(time.Duration) bool{"wait": k.wait, "nap": k.nap} {
		woken := func() bool {
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
				if sleep(10 * time.Second) {
					return true
				}
			}
			return false
		}
		k.wake()
		if !woken() {
			t.Errorf("%s: not woken by what came before", name)
		}
		if sleep(time.Millisecond) {
			t.Errorf("%s: woken by nobody", name)
		}
		go func() {
			lookAround()
			k.wake()
		}()
		if !woken() {
			t.Errorf("%s: not woken", name)
		}
	}
}
