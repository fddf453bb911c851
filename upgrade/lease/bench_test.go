package lease_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/upgrade/lease"
)

// How long after a process with memory of a size was killed it is known: by the lease, and, of
// the same death, by the process's descriptor, which waits for the memory to be unmapped.
//
//	go test -bench Death ./upgrade/lease
func BenchmarkDeath(b *testing.B) {
	for _, mib := range []int{0, 512, 2048} {
		b.Run(fmt.Sprintf("%d MiB", mib), func(b *testing.B) {
			var byLease, byPidfd []time.Duration
			for b.Loop() {
				l, p := death(b, mib)
				byLease, byPidfd = append(byLease, l), append(byPidfd, p)
			}
			median := func(d []time.Duration) float64 {
				slices.Sort(d)
				return float64(d[len(d)/2].Microseconds())
			}
			b.ReportMetric(median(byLease), "us/lease")
			b.ReportMetric(median(byPidfd), "us/pidfd")
			b.ReportMetric(float64(byLease[len(byLease)-1].Microseconds()), "us/lease-most")
		})
	}
}

func death(b *testing.B, mib int) (byLease, byPidfd time.Duration) {
	board, err := lease.New()
	if err != nil {
		b.Fatal(err)
	}
	defer board.Close()
	b.Setenv(memoryEnv, fmt.Sprint(mib))
	cmd, _ := start(b, board, "SIGKILL by another")
	defer cmd.Wait()
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	gone, died := make(chan time.Time, 1), make(chan time.Time, 1)
	var waits sync.WaitGroup
	waits.Add(1)
	go func() {
		waits.Done()
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		gone <- time.Now()
	}()
	go func() {
		board.Wait(5, 10*time.Second)
		died <- time.Now()
	}()
	for waits.Wait(); !board.Awaited(5); { // who does not sleep yet sees it no sooner
		runtime.Gosched()
	}
	t := time.Now()
	if err := cmd.Process.Signal(os.Kill); err != nil {
		b.Fatal(err)
	}
	return (<-died).Sub(t), (<-gone).Sub(t)
}
