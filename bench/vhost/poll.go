package main

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"baton/bench/machine"
	"baton/bench/tsc"
	"baton/dataplane/buf"
	"baton/dataplane/port"
)

// poller is the thread that polls a device, and the device's Quiescer.
//
//	conc: launch, start and stop from one goroutine; Quiesce from any
type poller struct {
	queue port.Queue
	cache *buf.Cache
	tid   int
	work  chan job
	done  chan counts

	halt    atomic.Bool
	polling atomic.Bool
	quiet   atomic.Uint64 // counts points at which no ring is in use
}

type job struct {
	dir  direction
	size int
}

// launch starts the pinned thread.
func (p *poller) launch(cpu int) error {
	p.work, p.done = make(chan job), make(chan counts, 1)
	ready := make(chan error)
	go p.run(cpu, ready)
	return <-ready
}

func (p *poller) run(cpu int, ready chan<- error) {
	runtime.LockOSThread() // for ever: it is pinned
	p.tid = unix.Gettid()
	err := machine.Pin(cpu)
	ready <- err
	if err != nil {
		return
	}
	for j := range p.work {
		p.done <- p.poll(j)
		p.polling.Store(false)
	}
}

// start has the thread poll; size matters for enqueue.
func (p *poller) start(d direction, size int) error {
	if p.polling.Load() {
		return fmt.Errorf("a trial runs already: stop it first")
	}
	p.halt.Store(false)
	p.polling.Store(true)
	p.work <- job{d, size}
	return nil
}

func (p *poller) stop() counts {
	p.halt.Store(true)
	return <-p.done
}

// Quiesce implements port.Quiescer.
func (p *poller) Quiesce() {
	for start := p.quiet.Load(); p.polling.Load() && p.quiet.Load() == start; {
		runtime.Gosched()
	}
}

// quietEvery is how many polls lie between quiet points.
const quietEvery = 256

func (p *poller) poll(j job) (c counts) {
	step := p.dequeue
	switch j.dir {
	case enqueue:
		step = func(c *counts, v *buf.Vec) { p.enqueue(c, v, j.size) }
	case both:
		step = p.forward
	}
	v, err := buf.NewOffHeap[buf.Vec]()
	if err != nil {
		panic(err) // 256 bytes
	}
	defer buf.FreeOffHeap(v)
	for !p.halt.Load() {
		for range quietEvery {
			step(&c, v)
		}
		p.quiet.Add(1)
	}
	return c
}

// dequeue is one poll of testpmd's rxonly.
func (p *poller) dequeue(c *counts, v *buf.Vec) {
	start := tsc.Read()
	n := p.queue.Rx(p.cache, v)
	if n == 0 {
		return
	}
	p.cache.FreeAll(v, n)
	c.Rx += uint64(n)
	c.Busy += tsc.Read() - start
}

// enqueue is one poll of testpmd's io from net_null to the device.
func (p *poller) enqueue(c *counts, v *buf.Vec, size int) {
	start := tsc.Read()
	n := 0
	for ; n < buf.Burst; n++ {
		b := p.cache.Alloc()
		if b == nil {
			break
		}
		b.Truncate(size)
		v[n] = b
	}
	p.send(c, v, n)
	c.Busy += tsc.Read() - start
}

// forward is one poll of testpmd's io.
func (p *poller) forward(c *counts, v *buf.Vec) {
	start := tsc.Read()
	n := p.queue.Rx(p.cache, v)
	if n == 0 {
		return
	}
	p.send(c, v, n)
	c.Busy += tsc.Read() - start
}

// send gives v[:n] to the VM, and drops what its ring has no room for.
func (p *poller) send(c *counts, v *buf.Vec, n int) {
	took := p.queue.Tx(p.cache, v, n)
	for _, b := range v[took:n] {
		p.cache.Free(b)
	}
	c.Rx += uint64(n)
	c.Tx += uint64(took)
	c.Drop += uint64(n - took)
}
