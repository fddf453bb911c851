//go:build amd64 && go1.26 && !go1.27 && goexperiment.greenteagc && !purego

package slice

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// locked calls f on a thread of its own.
func locked(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: the thread ends here
		f()
	}()
	<-done
}

// withProcs lets a test have num processors.
func withProcs(t *testing.T, num int) {
	old := runtime.GOMAXPROCS(num)
	t.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

// This release of Go is one that the package knows.
func TestCheck(t *testing.T) {
	withProcs(t, 4)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // others use processors meanwhile
		for {
			select {
			case <-stop:
				return
			default:
				time.Sleep(10 * time.Microsecond)
			}
		}
	}()
	for range 20 {
		locked(func() {
			if err := Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Renew adds one to the count of scheduler calls, and to nothing else that is looked at.
func TestRenew(t *testing.T) {
	locked(func() {
		for range 1000 {
			var before, after state
			look(&before)
			Renew()
			look(&after)
			if after.id != before.id || after.syscalltick != before.syscalltick {
				continue // preempted in between
			}
			if after.schedtick != before.schedtick+1 {
				continue // scheduled in between, and on the same processor again
			}
			return
		}
		t.Error("never one more")
	})
}

// yields is how often a thread that only polls for a time gives its CPU away.
func yields(length time.Duration, renew bool) (num int64) {
	locked(func() {
		before := givenAway()
		next := time.Now()
		for begin := next; time.Since(begin) < length; {
			if now := time.Now(); renew && now.Sub(next) >= 0 {
				next = now.Add(2 * time.Millisecond)
				Renew()
			}
		}
		num = givenAway() - before
	})
	return num
}

// A loop that renews its slice is not made to yield; one that does not is, many times.
func TestRenew_keepsProcessor(t *testing.T) {
	withProcs(t, 4)
	var kept, taken int64
	for range 50 { // a loop that the kernel keeps from running for 10 ms is preempted all the same
		kept += yields(200*time.Millisecond, true)
		taken += yields(200*time.Millisecond, false)
		if taken >= 12 && kept*4 <= taken {
			t.Logf("%d yields with, %d without", kept, taken)
			return
		}
	}
	t.Errorf("%d yields with, %d without", kept, taken)
}

// hogs keeps all other processors busy until the test ends.
func hogs(t *testing.T) {
	var stop atomic.Bool
	t.Cleanup(func() { stop.Store(true) })
	for range 4 {
		go func() {
			for !stop.Load() {
			}
		}()
	}
}

// A goroutine that waits for the loop's processor while all others are busy is seen, and
// runs after Yield.
func TestYield(t *testing.T) {
	withProcs(t, 2)
	hogs(t)
	var ran atomic.Bool
	locked(func() {
		for begin := time.Now(); time.Since(begin) < 20*time.Second; Renew() {
			ran.Store(false)
			go ran.Store(true)
			waits := 0
			for ; !ran.Load() && waits < 1000 && Waiting(); waits++ {
				Renew()
			}
			if waits < 1000 {
				continue // another processor had room
			}
			for !ran.Load() && time.Since(begin) < 20*time.Second {
				Yield()
			}
			if ran.Load() {
				return
			}
		}
		t.Error("no goroutine had to wait, or it never ran")
	})
}

// Goroutines in the queue that all processors share get their turns while the loop renews its
// slice and keeps its processor, though there is one other alone and more than enough to run
// on it: each comes back from Gosched, which puts it there. With no other processor they do
// not, which is why worker.Pool.Start sees to it that there are some.
func TestRenew_othersTurns(t *testing.T) {
	withProcs(t, 2)
	hogs(t)
	const num, want = 8, 3
	var turns [num]atomic.Int64
	var stop atomic.Bool
	var all sync.WaitGroup
	for i := range turns {
		all.Go(func() {
			for !stop.Load() {
				runtime.Gosched()
				turns[i].Add(1)
			}
		})
	}
	defer all.Wait()
	defer stop.Store(true)
	locked(func() {
		var before [num]int64
		windows := 0
		in := func(begin time.Time) bool { return time.Since(begin) < 20*time.Second }
		for begin := time.Now(); in(begin); windows++ {
			for Waiting() && in(begin) { // for this very processor: they came with it
				Yield()
			}
			for i := range before {
				before[i] = turns[i].Load()
			}
			for kept := givenAway(); givenAway() == kept && in(begin); {
				Renew()
				if had(before[:], turns[:], want) {
					t.Logf("%d turns of each in window %d", want, windows)
					return
				}
				for next := time.Now().Add(2 * time.Millisecond); time.Now().Before(next); {
				}
			}
		}
		t.Errorf("not all had %d turns while the loop kept its processor, in any of %d windows", want, windows)
	})
}

// had reports whether each has had num turns more than before.
func had(before []int64, turns []atomic.Int64, num int64) bool {
	for i := range before {
		if turns[i].Load() < before[i]+num {
			return false
		}
	}
	return true
}

// givenAway is how often the calling thread gave its CPU away.
func givenAway() int64 {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &r)
	return r.Nvcsw
}

// A timer that is due and that nobody fires is seen.
func TestWaiting_timer(t *testing.T) {
	withProcs(t, 2)
	hogs(t)
	var fired atomic.Bool
	locked(func() {
		for begin := time.Now(); time.Since(begin) < 20*time.Second; Renew() {
			fired.Store(false)
			timer := time.AfterFunc(time.Microsecond, func() { fired.Store(true) })
			seen := false
			for i := 0; i < 100_000 && !fired.Load() && !seen; i++ {
				var s state
				look(&s)
				seen = s.heap != 0 && s.heap < nanotime() && Waiting()
			}
			timer.Stop()
			if seen {
				return
			}
		}
		t.Error("none was seen")
	})
}

// Nothing is allocated.
func TestAllocs(t *testing.T) {
	for name, f := range map[string]func(){"Renew": Renew, "Waiting": func() { Waiting() }, "Yield": Yield} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkRenew(b *testing.B) {
	for b.Loop() {
		Renew()
	}
}

func BenchmarkWaiting(b *testing.B) {
	for b.Loop() {
		Waiting()
	}
}

func BenchmarkYield(b *testing.B) {
	for b.Loop() {
		Yield()
	}
}
