package relay

import "time"

// spinFor is how long Until looks without a pause, if it is to: a switch-over takes some 50 us,
// and whoever sleeps finds out 50 us late.
const spinFor = 2 * time.Millisecond

// lookEvery is the pause between two looks.
const lookEvery = 20 * time.Microsecond

// Until looks whether something is so that no descriptor tells of, as what the other process or
// a worker writes, until it is or limit has passed; false then. With spin it looks without a pause at
// first.
func Until(limit time.Duration, spin bool, so func() bool) bool {
	for begun := Now(); !so(); {
		waited := time.Duration(Now() - begun)
		if waited > limit {
			return false
		}
		if !spin || waited > spinFor {
			time.Sleep(lookEvery)
		}
	}
	return true
}
