package loopgap

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"baton/bench/machine"
	"baton/bench/tsc"
	"baton/dataplane/buf"
	"baton/dataplane/pipeline"
	"baton/dataplane/worker"
	"baton/nic/dpdk/spin"
)

// env tells a process that it is to run one loop; its value is a Config as JSON.
const env = "BATON_BENCH_LOOPGAP"

// maxGaps is how many gaps are kept: thousands a second for minutes.
const maxGaps = 1 << 20

// outcome is what a child says.
type outcome struct {
	Gaps   []uint64 `json:"gaps,omitempty"`  // cycles
	Lost   int      `json:"lost,omitempty"`  // gaps beyond maxGaps
	Given  []uint64 `json:"given,omitempty"` // of the gaps, those in which the thread gave its CPU away
	Hz     uint64   `json:"hz,omitempty"`
	Took   float64  `json:"took,omitempty"` // seconds
	GCs    uint32   `json:"gcs,omitempty"`
	Bytes  uint64   `json:"bytes,omitempty"`  // allocated meanwhile
	Yields int64    `json:"yields,omitempty"` // times that the loop's thread gave its CPU away
	Forced int64    `json:"forced,omitempty"` // times that the kernel took it
}

// RunChild is one loop if the process was started as one by Run, and does not return then.
// It comes first in main, before anything else is started.
func RunChild() {
	raw := os.Getenv(env)
	if raw == "" {
		return
	}
	var c Config
	err := json.Unmarshal([]byte(raw), &c)
	if err == nil {
		err = child(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loopgap:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// loop is a loop that polls.
type loop interface {
	// start lets it poll on a CPU and returns its thread.
	start(cpu int) (tid int, err error)
	// gaps has it note gaps for a time.
	gaps(length time.Duration, hz uint64) noted
}

// noted is what a loop noted.
type noted struct {
	gaps  []uint64 // cycles
	given []uint64 // of them, those in which the loop's thread gave its CPU away
	lost  int      // gaps beyond maxGaps
}

func child(c Config) error {
	hz := tsc.Hz(50 * time.Millisecond)
	var l loop = &batonLoop{}
	if c.Bare {
		l = &bareLoop{}
	}
	tid, err := l.start(c.CPU)
	if err != nil {
		return err
	}
	_ = machine.Favour(0, tid) // without the right to, ordinary load shows
	if c.Heap > 0 {
		go worker.PaceGC(context.Background(), c.Heap)
	}
	stop := make(chan struct{})
	if c.Alloc > 0 {
		go allocate(c.Alloc, c.Live, stop)
		time.Sleep(200 * time.Millisecond) // until what lives is there
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	o := outcome{Hz: hz}
	yields, forced := switches(tid)
	begin := time.Now()
	n := l.gaps(c.Length, hz)
	o.Took = time.Since(begin).Seconds()
	o.Gaps, o.Given, o.Lost = n.gaps, n.given, n.lost
	y, f := switches(tid)
	runtime.ReadMemStats(&after)
	close(stop)
	o.Yields, o.Forced = y-yields, f-forced
	o.GCs, o.Bytes = after.NumGC-before.NumGC, after.TotalAlloc-before.TotalAlloc
	return json.NewEncoder(os.Stdout).Encode(o)
}

// switches is how often a thread has given its CPU away, and how often it was taken.
func switches(tid int) (yields, forced int64) {
	f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/status", tid))
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fmt.Sscanf(s.Text(), "voluntary_ctxt_switches: %d", &yields)
		fmt.Sscanf(s.Text(), "nonvoluntary_ctxt_switches: %d", &forced)
	}
	return yields, forced
}

// batonLoop is a worker of baton's with the probe as its port.
type batonLoop struct {
	pool  *worker.Pool
	probe *probe
}

func (b *batonLoop) start(cpu int) (tid int, err error) {
	packets, err := buf.NewPool(1024, buf.DefaultDataRoom)
	if err != nil {
		return 0, err
	}
	b.pool, err = worker.New(worker.Config{Workers: 1, CPUs: []int{cpu}, Source: packets, Pipeline: pipeline.New(), BusyPoll: true})
	if err != nil {
		return 0, err
	}
	b.probe = &probe{gaps: make([]uint64, maxGaps), given: make([]uint64, 0, maxGaps)}
	b.pool.Start()
	if err := b.pool.AddPort(b.probe, worker.PortOptions{}); err != nil {
		return 0, err
	}
	for b.probe.tid.Load() == 0 {
		runtime.Gosched()
	}
	return int(b.probe.tid.Load()), nil
}

func (b *batonLoop) gaps(length time.Duration, hz uint64) noted {
	p := b.probe
	p.floor, p.slow, p.num, p.given = hz/floorsPerSecond, hz/slowPerSecond, 0, p.given[:0]
	p.recording.Store(true)
	time.Sleep(length)
	p.recording.Store(false)
	b.pool.Quiesce() // twice: the iteration that saw it has ended
	b.pool.Quiesce()
	n := min(p.num, maxGaps)
	return noted{gaps: p.gaps[:n], given: p.given, lost: p.num - n}
}

// bareLoop is the loop in C.
type bareLoop struct {
	work chan func()
}

func (b *bareLoop) start(cpu int) (tid int, err error) {
	b.work = make(chan func())
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: it is pinned
		tid = unix.Gettid()
		ready <- machine.Pin(cpu)
		for f := range b.work {
			f()
		}
	}()
	return tid, <-ready
}

// gaps notes none as given away: who never waits for another thread never does that.
func (b *bareLoop) gaps(length time.Duration, hz uint64) noted {
	out, done := make([]uint64, maxGaps), make(chan noted)
	b.work <- func() {
		gaps, num := spin.Gaps(out, hz/floorsPerSecond, uint64(length.Seconds()*float64(hz)))
		done <- noted{gaps: gaps, lost: int(num) - len(gaps)}
	}
	return <-done
}

// node is what is allocated: memory with pointers in it, as a control side's is.
type node struct {
	next *node
	_    [504]byte
}

// allocate allocates rate bytes a second and keeps the last live bytes, until stop is closed.
func allocate(rate, live int, stop <-chan struct{}) {
	const size, every = 512, time.Millisecond
	kept := make([]*node, max(live/size, 1))
	tick := time.NewTicker(every)
	defer tick.Stop()
	at := 0
	begin, done := time.Now(), 0
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for due := int(time.Since(begin).Seconds() * float64(rate)); done < due; done += size {
			kept[at] = &node{next: kept[at/2]} // what that one had is let go, or all would hang on one chain
			if n := kept[at].next; n != nil {
				n.next = nil
			}
			at = (at + 1) % len(kept)
		}
	}
}
