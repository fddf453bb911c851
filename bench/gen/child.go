package gen

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"baton/bench/child"
	"baton/bench/machine"
	"baton/bench/tsc"
	"baton/nic/dpdk"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/mempool"
)

// env tells a process that it is a generator.
const env = "BATON_BENCH_GEN"

// order is what the parent says, a line of JSON each.
type order struct {
	Do    string   `json:"do"` // up, start, mark, counts, stop
	Setup *Options `json:"setup,omitempty"`
	Load  *Load    `json:"load,omitempty"`
}

// reply is what the child answers, a line of JSON each.
type reply struct {
	Error  string  `json:"error,omitempty"`
	Poller int     `json:"poller,omitempty"`
	Counts *Counts `json:"counts,omitempty"`
	Result *Result `json:"result,omitempty"`
}

// RunChild is the generator if the process was started as one by Start, and does not
// return then. It comes first in main, before anything else is started.
func RunChild() {
	if os.Getenv(env) == "" {
		return
	}
	// Nothing allocates while packets move; what orders and answers leave is small.
	debug.SetGCPercent(-1)
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "traffic generator:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// generator is the state of a generator process.
type generator struct {
	eng     *engine
	pool    *mempool.Pool
	load    Load
	running bool
	work    chan struct{}
	idle    chan struct{}
}

// serve obeys orders until there are no more.
func serve(in io.Reader, out io.Writer) error {
	c := &generator{}
	defer c.close()
	return child.Serve(in, out, func(o order) reply {
		r, err := c.obey(o)
		if err != nil {
			r.Error = err.Error()
		}
		return r
	})
}

func (c *generator) obey(o order) (r reply, err error) {
	if (c.eng == nil) != (o.Do == "setup") {
		return r, fmt.Errorf("%s: the first order is setup, and no other is", o.Do)
	}
	if need := o.Do == "mark" || o.Do == "counts" || o.Do == "stop"; o.Do != "setup" && need != c.running && o.Do != "up" {
		return r, fmt.Errorf("%s: running is %v", o.Do, c.running)
	}
	switch o.Do {
	case "setup":
		r.Poller, err = c.setup(*o.Setup)
	case "up":
		err = c.up(10 * time.Second)
	case "start":
		err = c.start(*o.Load)
	case "mark":
		err = c.eng.ask(askMark)
	case "counts":
		err = c.eng.ask(askCounts)
		r.Counts = &c.eng.counts
	case "stop":
		r.Result, err = c.stop()
	default:
		err = fmt.Errorf("unknown order %q", o.Do)
	}
	return r, err
}

// setup starts DPDK, opens the ends and the thread.
func (c *generator) setup(o Options) (poller int, err error) {
	opts := eal.Options{MemoryMiB: o.MemoryMiB, Lcores: []int{o.CPU}, HugePages: eal.HugeOff}
	if o.Huge {
		opts.HugePages = eal.HugeOn
	}
	if _, err := eal.Init(opts); err != nil {
		return 0, err
	}
	if c.pool, err = mempool.CreateMbufPool("gen", mempool.Options{Num: o.Buffers}); err != nil {
		return 0, err
	}
	ends, err := openEnds(o.Ends, c.pool)
	if err != nil {
		return 0, err
	}
	c.eng = newEngine(ends, tsc.Hz(50*time.Millisecond))
	c.work, c.idle = make(chan struct{}), make(chan struct{}, 1)
	tid := make(chan int)
	failed := make(chan error, 1)
	go c.runPoller(o.CPU, tid, failed)
	select {
	case poller = <-tid:
		return poller, nil
	case err := <-failed:
		return 0, err
	}
}

// openEnds opens all devices, or none.
func openEnds(ends []End, pool *mempool.Pool) (all []*end, err error) {
	defer func() {
		if err != nil {
			closeEnds(all)
		}
	}()
	for _, e := range ends {
		p, err := dpdk.Open(dpdk.Config{Name: e.Name, Device: e.Device, RxDesc: e.RxDesc, TxDesc: e.TxDesc, Pool: pool, Promisc: e.Promisc})
		if err != nil {
			return all, err
		}
		n, err := newEnd(e.Name, p, pool)
		if err != nil {
			return all, errors.Join(err, p.Close())
		}
		all = append(all, n)
	}
	return all, nil
}

func closeEnds(ends []*end) {
	for _, n := range ends {
		_ = n.close() // the process ends
		_ = n.port.Close()
	}
}

// runPoller is the thread that polls.
func (c *generator) runPoller(cpu int, tid chan<- int, failed chan<- error) {
	runtime.LockOSThread() // for ever: it is pinned
	if err := machine.Pin(cpu); err != nil {
		failed <- err
		return
	}
	tid <- unix.Gettid()
	for range c.work {
		c.eng.run()
		c.idle <- struct{}{}
	}
}

// up waits until all ends' links are.
func (c *generator) up(limit time.Duration) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for _, n := range c.eng.ends {
		for !n.port.Info().Up {
			select {
			case <-tick.C:
			case <-late:
				return fmt.Errorf("end %s (%s): no link after %v: is the other side there?", n.name, n.port.Info().Detail, limit)
			}
		}
	}
	return nil
}

// start loads the engine and has it run.
func (c *generator) start(l Load) error {
	if err := c.eng.load(l); err != nil {
		return err
	}
	c.load = l
	runtime.GC() // of what the load before left
	c.running = true
	c.work <- struct{}{}
	return nil
}

// stop ends the sending, waits for what is under way, and the loop.
func (c *generator) stop() (*Result, error) {
	if err := c.eng.ask(askDrain); err != nil {
		return nil, err
	}
	time.Sleep(c.load.Drain)
	if err := c.eng.ask(askHalt); err != nil {
		return nil, err
	}
	<-c.idle
	c.running = false
	return c.eng.result(c.load), nil
}

func (c *generator) close() {
	if c.eng == nil {
		return
	}
	if c.running {
		_, _ = c.stop() // nobody waits for its answer
	}
	close(c.work)
	closeEnds(c.eng.ends)
}
