package worker

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/offload/offloadtest"
	"baton/dataplane/overlay"
	"baton/dataplane/pipeline"
	"baton/dataplane/port"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// double is a port whose far end is the test.
type double struct {
	name   string
	kind   port.Kind
	queues []*doubleQueue
	closed bool
}

var (
	_ port.Port        = (*double)(nil)
	_ port.Queue       = (*doubleQueue)(nil)
	_ port.Enabler     = (*doubleQueue)(nil)
	_ port.LateDropper = (*doubleQueue)(nil)
	_ port.Offloader   = (*doubleQueue)(nil)

	_ port.TooBigDropper = (*doubleQueue)(nil)
)

// doubleQueue is one of its queues.
type doubleQueue struct {
	mu     sync.Mutex
	in     []injected         // frames for Rx
	sink   func(frame []byte) // gets what Tx takes; the frame is valid during the call
	keep   func(b *buf.Buf)   // the same, with all that is said about it
	offers atomic.Uint32      // port.Offloads
	limit  func(n int) int    // how many of n packets Tx takes; nil: all
	armed  bool
	mode   port.Armed
	fd     int
	waker  port.Waker
	onRx   func()
	off    atomic.Bool
	lates  atomic.Uint64
	bigs   atomic.Uint64
	polled atomic.Uint64
}

// injected is a frame for Rx, and what its sender asks for.
type injected struct {
	frame   []byte
	partial bool // the checksum is to be completed
	segment int  // not 0: a super-segment
}

// buffers is the frame in buffers of c, nil if c runs out.
func (f *injected) buffers(c *buf.Cache) *buf.Buf {
	if f.partial || f.segment > 0 {
		return offloadtest.Ask(c, f.frame, f.segment, 2048)
	}
	b := c.Alloc()
	if b != nil && !b.SetFrame(f.frame) {
		panic("frame does not fit")
	}
	return b
}

// newDouble is a port; its descriptors are closed when the test ends.
func newDouble(t testing.TB, name string, kind port.Kind, queues int) *double {
	t.Helper()
	d := &double{name: name, kind: kind}
	for range queues {
		fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		d.queues = append(d.queues, &doubleQueue{fd: fd})
	}
	return d
}

func (d *double) Name() string           { return d.name }
func (d *double) Kind() port.Kind        { return d.kind }
func (d *double) NumQueues() int         { return len(d.queues) }
func (d *double) Queue(i int) port.Queue { return d.queues[i] }
func (d *double) Close() error           { d.closed = true; return nil }
func (d *double) Info() port.Info {
	return port.Info{Up: true, MTU: 1500, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Detail: "double"}
}

// sink sets what gets the frames of all queues.
func (d *double) sink(f func(frame []byte)) *double {
	for _, q := range d.queues {
		q.sink = f
	}
	return d
}

func (q *doubleQueue) Rx(c *buf.Cache, v *buf.Vec) int {
	q.polled.Add(1)
	if q.onRx != nil {
		q.onRx()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < buf.Burst && n < len(q.in) {
		b := q.in[n].buffers(c)
		if b == nil {
			break
		}
		v[n] = b
		n++
	}
	q.in = q.in[n:]
	return n
}

func (q *doubleQueue) Tx(c *buf.Cache, v *buf.Vec, n int) int {
	q.mu.Lock()
	if q.limit != nil {
		n = q.limit(n)
	}
	sink, keep := q.sink, q.keep
	q.mu.Unlock()
	for i := range n {
		if sink != nil {
			sink(frameOf(v[i]))
		}
		if keep != nil {
			keep(v[i])
		}
		c.Free(v[i])
	}
	return n
}

func (q *doubleQueue) Attach(w port.Waker) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waker != nil {
		q.waker.Remove(q.fd)
	}
	if w != nil {
		if err := w.Add(q.fd); err != nil {
			panic(err)
		}
	}
	q.waker, q.armed = w, false
}

func (q *doubleQueue) Arm() port.Armed {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.in) > 0 {
		return port.ArmReady
	}
	q.armed = true
	return q.mode
}

func (q *doubleQueue) Disarm() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.armed = false
}

func (q *doubleQueue) Enabled() bool           { return !q.off.Load() }
func (q *doubleQueue) Dropped() uint64         { return q.lates.Load() }
func (q *doubleQueue) TooBig() uint64          { return q.bigs.Load() }
func (q *doubleQueue) Offloads() port.Offloads { return port.Offloads(q.offers.Load()) }

// inject gives frames to the queue, and wakes who sleeps on it.
func (q *doubleQueue) inject(frames ...[]byte) {
	for _, f := range frames {
		q.injectAsking(injected{frame: f})
	}
}

// injectAsking is inject of frames that ask for offloads.
func (q *doubleQueue) injectAsking(frames ...injected) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.in = append(q.in, frames...)
	if q.armed && q.mode == port.ArmSet {
		q.armed = false
		if _, err := unix.Write(q.fd, one[:]); err != nil {
			panic(err)
		}
	}
}

// waiting is the number of frames that wait for Rx.
func (q *doubleQueue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.in)
}

// eventually polls until ok, and fails after ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
		runtime.Gosched()
	}
}

// Numbers of the logical ports of a test are on datapath 1.
func number(id int) flow.PortNo { return flow.LogicalPort(1, uint16(id)) }

// frame is a UDP packet with the L4 ports and a sequence number as payload.
func frame(src, dst uint16, seq uint64) []byte { return sized(src, dst, seq, 64) }

func sized(src, dst uint16, seq uint64, size int) []byte {
	f := make([]byte, size)
	copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45})
	binary.BigEndian.PutUint16(f[16:], uint16(size-14))
	f[22], f[23] = 64, 17
	copy(f[26:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	binary.BigEndian.PutUint16(f[34:], src)
	binary.BigEndian.PutUint16(f[36:], dst)
	binary.BigEndian.PutUint16(f[38:], uint16(size-34))
	binary.BigEndian.PutUint64(f[42:], seq)
	return f
}

func frameSrc(f []byte) uint16 { return binary.BigEndian.Uint16(f[34:]) }
func frameSeq(f []byte) uint64 { return binary.BigEndian.Uint64(f[42:]) }

// toPort is the rule that packets with L4 destination dst go to port p, whatever port they came from.
func toPort(dst uint16, p flow.PortNo) flow.Rule {
	return flow.Rule{
		RuleID:  flow.RuleID{Table: pipeline.TableConvertPhyLogical, Priority: 10, Match: flow.Match{}.WithUint(flow.FieldL4Dst, uint64(dst))},
		Actions: []flow.Action{flow.SetFlags(flow.FlagLoopback), flow.Output(p)},
	}
}

// lab is a pool with its rules and buffers.
type lab struct {
	*Pool
	t     testing.TB
	rules *pipeline.Pipeline
	bufs  *buf.Pool
}

const labBufs = 4096

// newLab is a running pool; when the test ends it is closed, all packets must be
// accounted for and all buffers back.
func newLab(t testing.TB, edit func(c *Config)) *lab {
	t.Helper()
	bufs, err := buf.NewPool(labBufs, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, rules: pipeline.New(), bufs: bufs}
	cfg := Config{Workers: 1, Source: bufs, Pipeline: l.rules, Spin: 5 * time.Microsecond, MaxFlows: 1024}
	if edit != nil {
		edit(&cfg)
	}
	if l.Pool, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	l.Start()
	t.Cleanup(l.end)
	return l
}

// end closes the lab and checks that nothing is lost.
func (l *lab) end() {
	if err := l.Pool.Close(); err != nil {
		l.t.Error(err)
	}
	tot := l.Totals()
	if tot.Held() != 0 {
		l.t.Errorf("received %d, sent %d, dropped %d: %d packets are lost", tot.RxPackets, tot.TxPackets, tot.Dropped(), tot.Held())
	}
	if n := l.bufs.Available(); n != labBufs {
		l.t.Errorf("%d buffers of %d are back", n, labBufs)
	}
	if err := l.bufs.Close(); err != nil {
		l.t.Error(err)
	}
}

// apply makes a change and waits until the workers go by it.
func (l *lab) apply(c flow.Change) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.Barrier(ctx, l.change(c)); err != nil {
		l.t.Fatal(err)
	}
}

// change makes a change and returns its generation.
func (l *lab) change(c flow.Change) uint64 {
	l.t.Helper()
	gen, err := l.rules.Apply(c)
	if err != nil {
		l.t.Fatal(err)
	}
	return gen
}

// addPort adds a port and binds it to logical port id.
func (l *lab) addPort(id int, d *double) *double {
	l.t.Helper()
	l.apply(flow.Change{SetBindings: []flow.Binding{{Name: d.name, Number: number(id)}}})
	if err := l.AddPort(d, PortOptions{}); err != nil {
		l.t.Fatal(err)
	}
	return d
}

// quiet waits until all that was injected into ports has left the switch.
func (l *lab) quiet(ports ...*double) {
	l.t.Helper()
	eventually(l.t, "all packets taken", func() bool {
		for _, d := range ports {
			for _, q := range d.queues {
				if q.waiting() > 0 {
					return false
				}
			}
		}
		return true
	})
	l.Quiesce() // what was taken has been handed over
	l.Flush()   // what was handed over has been sent
	if n := l.Parcels(); n != 0 {
		l.t.Errorf("%d parcels in a quiet pool", n)
	}
}

// stat is the counters of a port.
func (l *lab) stat(name string) PortStats {
	l.t.Helper()
	for _, p := range l.Ports() {
		if p.Name == name {
			return p
		}
	}
	l.t.Fatalf("no port %s", name)
	return PortStats{}
}

// tunnelEnd is the end point at 192.0.2.host.
func tunnelEnd(t testing.TB, host byte) *overlay.Endpoint {
	t.Helper()
	e, err := overlay.New(overlay.Config{
		IP: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, host}), 24), MAC: flow.MAC{2, 0, 0, 0, 1, host}, MTU: 1500,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// neighbour is the host at 192.0.2.host.
func neighbour(host byte) flow.Neighbour {
	return flow.Neighbour{Host: "other", IP: 0xc0000200 | uint32(host), MAC: flow.MAC{2, 0, 0, 0, 1, host}}
}
