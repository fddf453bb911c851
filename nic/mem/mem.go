package mem

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"baton/dataplane/port"
)

// DefaultDepth is how many frames each direction of a queue pair holds: a
// virtqueue of the usual size.
const DefaultDepth = 256

// Options is how a port is made. The zero value is a good one.
type Options struct {
	Queues int              // queue pairs; 0 = 1
	Depth  int              // frames each direction of a queue pair holds; 0 = DefaultDepth
	MAC    net.HardwareAddr // told by Info
	MTU    int              // told by Info; 0 = 1500
	Kind   port.Kind        // what the port passes for
}

// Port is a port in memory.
//
//	conc: safe for concurrent use; the queues are their workers'
type Port struct {
	name   string
	opts   Options
	queues []*Queue
	peer   *Port // nil unless one of a pair
	down   atomic.Bool
}

var _ port.Port = (*Port)(nil)

// New is a port whose far side is the test: Inject and Sent.
//
//	error: opts out of range, no descriptors left
func New(name string, opts Options) (*Port, error) {
	p, err := newPort(name, opts)
	if err != nil {
		return nil, err
	}
	for _, q := range p.queues {
		if q.in, err = newWire(p.opts.Depth); err == nil {
			q.out, err = newWire(p.opts.Depth)
		}
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

// NewPair is two ports joined by a wire: what one sends, the other receives, on
// the queue of the same number.
//
//	error: opts out of range, no descriptors left
func NewPair(nameA, nameB string, opts Options) (a, b *Port, err error) {
	if a, err = New(nameA, opts); err != nil {
		return nil, nil, err
	}
	if b, err = newPort(nameB, opts); err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	for i, q := range b.queues {
		q.in, q.out = a.queues[i].out, a.queues[i].in
	}
	a.peer, b.peer = b, a
	return a, b, nil
}

// newPort is a port without its wires.
func newPort(name string, opts Options) (*Port, error) {
	if opts.Queues == 0 {
		opts.Queues = 1
	}
	if opts.Depth == 0 {
		opts.Depth = DefaultDepth
	}
	if opts.MTU == 0 {
		opts.MTU = 1500
	}
	if name == "" || opts.Queues < 0 || opts.Depth < 0 {
		return nil, fmt.Errorf("mem port %q: %d queues of %d frames: want a name and at least 1 of each", name, opts.Queues, opts.Depth)
	}
	p := &Port{name: name, opts: opts}
	for range opts.Queues {
		p.queues = append(p.queues, &Queue{})
	}
	return p, nil
}

// Name implements port.Port.
func (p *Port) Name() string { return p.name }

// Kind implements port.Port.
func (p *Port) Kind() port.Kind { return p.opts.Kind }

// NumQueues implements port.Port.
func (p *Port) NumQueues() int { return len(p.queues) }

// Queue implements port.Port.
func (p *Port) Queue(i int) port.Queue { return p.queues[i] }

// Info implements port.Port.
func (p *Port) Info() port.Info {
	detail := "memory"
	if p.peer != nil {
		detail = "wire to " + p.peer.name
	}
	return port.Info{Up: !p.down.Load(), MAC: p.opts.MAC, MTU: p.opts.MTU, Detail: detail}
}

// SetUp changes what Info says; packets pass all the same.
func (p *Port) SetUp(up bool) { p.down.Store(!up) }

// Close implements port.Port. Frames that wait are dropped; with a pair, both
// directions end for the peer too. A second call does nothing.
func (p *Port) Close() error {
	p.down.Store(true)
	var errs []error
	for _, q := range p.queues {
		for _, w := range []*wire{q.in, q.out} {
			if w != nil {
				errs = append(errs, w.close())
			}
		}
	}
	return errors.Join(errs...)
}

// Inject lets a frame come in on queue 0; false if the queue is full, the port is
// closed, or the frame is longer than MaxFrame. frame stays the caller's.
func (p *Port) Inject(frame []byte) bool { return p.InjectAt(0, frame) }

// InjectAt is Inject for queue q.
func (p *Port) InjectAt(q int, frame []byte) bool { return p.queues[q].in.push(frame) }

// Waiting is the number of frames that came in on queue q and were not received.
func (p *Port) Waiting(q int) int { return p.queues[q].in.len() }

// Sent takes out the frames that were sent since the last call, in order, queue
// after queue. On one of a pair it takes them away from the peer.
func (p *Port) Sent() [][]byte {
	var frames [][]byte
	for i := range p.queues {
		frames = append(frames, p.SentAt(i)...)
	}
	return frames
}

// SentAt is Sent for queue q.
func (p *Port) SentAt(q int) [][]byte {
	var frames [][]byte
	for p.queues[q].out.pop(func(frame []byte) bool {
		frames = append(frames, append([]byte(nil), frame...))
		return true
	}) {
	}
	return frames
}
