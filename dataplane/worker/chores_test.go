package worker

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/dataplane/flow"
	"baton/dataplane/port"
	"baton/dataplane/worker/slice"
)

// TestChores_stress: workers that keep their processors, busy and idle, forward all packets
// while the collector runs without a pause, all other processors are busy, ports come and
// go, frames are punted and flows are asked for. That all is accounted for newLab sees to.
func TestChores_stress(t *testing.T) {
	const rounds = 8
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	l := newLab(t, func(c *Config) { c.Workers, c.BusyPoll, c.Handoffs = 2, true, 4096 })
	in := l.addPort(1, newDouble(t, "in", port.KindVhost, 2))
	l.addPort(2, newDouble(t, "out", port.KindVhost, 1))
	punted := toPort(3, number(2))
	punted.Actions = append([]flow.Action{{Op: flow.OpPunt, Num: 7}}, punted.Actions...)
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2)), punted}})

	stop := make(chan struct{})
	var others sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); others.Wait() })
	defer end()
	for range runtime.GOMAXPROCS(0) {
		others.Go(func() { churn(stop) })
	}
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-l.Punts():
			}
		}
	})
	for range rounds {
		for q := range in.queues {
			for n := range uint64(64) {
				in.queues[q].inject(frame(uint16(n), uint16(2+n%2), n))
			}
		}
		l.addPort(9, newDouble(t, "short", port.KindVhost, 2))
		if _, err := l.Flows(t.Context()); err != nil {
			t.Error(err)
		}
		l.Quiesce()
		if err := l.RemovePort("short"); err != nil {
			t.Error(err)
		}
	}
	l.quiet(in)
	end()
	if s := l.stat("out"); s.TxPackets != rounds*2*64 {
		t.Errorf("%d packets left, want %d", s.TxPackets, rounds*2*64)
	}
}

// churn keeps a processor busy and makes garbage until stop is closed.
func churn(stop <-chan struct{}) {
	var kept [64][]byte
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
			kept[i%len(kept)] = make([]byte, 1<<10)
		}
	}
}

// A goroutine that waits for a worker's processor while all others are busy gets it when the
// worker's patience has ended, not only when Go's monitor looks.
func TestChores_letsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	var stop, ran atomic.Bool
	defer stop.Store(true)
	for range 4 {
		go func() {
			for !stop.Load() {
			}
		}()
	}
	ran20 := make(chan int) // of 20 that had to wait
	go func() {
		runtime.LockOSThread()
		if slice.Check() != nil {
			ran20 <- 20
			return
		}
		w := &Worker{}
		const turns = 40 * int(patience/choreEvery) // microseconds, where the monitor takes 10 ms
		waited, num := 0, 0
		for begin := time.Now(); waited < 20 && time.Since(begin) < 20*time.Second; {
			ran.Store(false)
			go ran.Store(true)
			most := 0
			for i := 0; i < turns && !ran.Load(); i++ {
				w.keepProcessor()
				most = max(most, w.waited)
			}
			if most == int(patience/choreEvery)-1 {
				waited++
				if ran.Load() {
					num++
				}
			}
		}
		ran20 <- num
	}()
	if n := <-ran20; n < 15 {
		t.Errorf("%d of 20 ran", n)
	}
}

// A worker that is bound to a thread keeps its processor wherever that can be done, and
// where it cannot, the pool says why.
func TestChores_keeps(t *testing.T) {
	can := make(chan error)
	go func() {
		runtime.LockOSThread()
		can <- slice.Check()
	}()
	cannot := <-can
	for _, unlocked := range []bool{false, true} {
		l := newLab(t, func(c *Config) { c.Unlocked = unlocked })
		why := l.Preempted()
		l.Quiesce()
		if got, want := l.workers[0].keeps, cannot == nil && !unlocked; got != want {
			t.Errorf("unlocked %v: keeps %v, want %v", unlocked, got, want)
		}
		if want := cannot != nil && !unlocked; (why != nil) != want || want && why.Error() != cannot.Error() {
			t.Errorf("unlocked %v: %v, want %v", unlocked, why, cannot)
		}
	}
}

// There are more processors than workers, whatever pools they belong to.
func TestStart_processors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	before := loops.num
	t.Run("two pools", func(t *testing.T) {
		for i := range 2 {
			newLab(t, func(c *Config) { c.Workers = 3 })
			if got, want := runtime.GOMAXPROCS(0), before+3*(i+1)+spareProcs; got != want {
				t.Errorf("%d processors, want %d", got, want)
			}
		}
	})
	if loops.num != before {
		t.Errorf("%d workers are said to run, want %d", loops.num, before)
	}
}
