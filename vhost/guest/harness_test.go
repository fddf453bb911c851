package guest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/vhost/guest"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// worker polls a device's queues and sends each frame back on its queue, after it
// has shown it to tap; it is the device's Quiescer.
type worker struct {
	mu    sync.Mutex // held during one iteration
	dev   *netdev.Device
	cache *buf.Cache
	held  []buf.Vec // frames that the guest's ring had no room for
	num   []int
	tap   func(queue int, frame []byte) // may be nil
	send  func() []byte                 // a frame for queue 0, nil for none; may be nil
	sink  bool                          // do not send frames back
	stop  chan struct{}
	done  chan struct{}
}

// Quiesce implements port.Quiescer.
func (w *worker) Quiesce() {
	w.mu.Lock()
	defer w.mu.Unlock()
}

func (w *worker) run() {
	defer close(w.done)
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		w.mu.Lock()
		busy := w.iterate()
		w.mu.Unlock()
		if !busy {
			runtime.Gosched()
		}
	}
}

func (w *worker) iterate() (busy bool) {
	for i := range w.dev.NumQueues() {
		q, v := w.dev.Queue(i), &w.held[i]
		if w.num[i] == 0 {
			w.num[i] = q.Rx(w.cache, v)
			for j := range w.num[i] {
				if w.tap != nil {
					w.tap(i, v[j].Data())
				}
			}
			if w.sink {
				busy = busy || w.num[i] > 0
				w.drop(i)
			}
		}
		if w.num[i] == 0 && i == 0 && w.send != nil {
			w.generate(v)
		}
		if w.num[i] == 0 {
			continue
		}
		busy = true
		n := q.Tx(w.cache, v, w.num[i])
		w.num[i] = copy(v[:], v[n:w.num[i]])
		// A ring without room is waited for; where the guest has no ring, nobody is.
		if n == 0 && !q.(port.Enabler).Enabled() {
			w.drop(i)
		}
	}
	return busy
}

// generate puts up to a burst of frames of its own into v.
func (w *worker) generate(v *buf.Vec) {
	for w.num[0] < buf.Burst {
		f := w.send()
		if f == nil {
			return
		}
		b := w.cache.Alloc()
		if b == nil || !b.SetFrame(f) {
			panic("no buffer for a frame")
		}
		v[w.num[0]] = b
		w.num[0]++
	}
}

func (w *worker) drop(i int) {
	w.cache.FreeAll(&w.held[i], w.num[i])
	w.num[i] = 0
}

// newWorker starts a device with a polling worker; the test's end stops both and
// checks that all buffers came home. setup may change the worker before it runs.
func newWorker(t testing.TB, pairs int, setup func(*worker)) *worker {
	t.Helper()
	pool, err := buf.NewPool(2048, buf.DefaultDataRoom+4096)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{
		cache: buf.NewCache(pool), held: make([]buf.Vec, pairs), num: make([]int, pairs),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if setup != nil {
		setup(w)
	}
	if w.dev, err = netdev.New(netdev.Config{Name: "p1", QueuePairs: pairs, MTU: 1500, Quiescer: w}); err != nil {
		t.Fatal(err)
	}
	go w.run()
	t.Cleanup(func() {
		close(w.stop)
		<-w.done
		for i := range w.num {
			w.drop(i)
		}
		if err := w.dev.Close(); err != nil {
			t.Error(err)
		}
		w.cache.Flush()
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// pairOfSockets is both ends of a connection.
func pairOfSockets(t testing.TB) [2]*net.UnixConn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	return ends
}

// attach connects a guest to the worker's device over a socket pair.
func attach(t testing.TB, w *worker, cfg guest.Config) (*guest.Guest, *proto.Session) {
	t.Helper()
	ends := pairOfSockets(t)
	conn, err := proto.NewConn(ends[1])
	if err != nil {
		t.Fatal(err)
	}
	s := proto.NewSession(conn, proto.State{}, w.dev, nil)
	cfg.Name, cfg.Conn = "g1", ends[0]
	g, err := guest.New(context.Background(), cfg)
	if err != nil {
		s.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		<-s.Done()
	})
	return g, s
}

// frame is number seq of a test's frames: its length depends on seq, and every
// byte on seq and its place.
func frame(dst []byte, seq, maxLen int) []byte {
	n := 18 + (seq*37)%(maxLen-17)
	dst = dst[:n]
	for i := range dst {
		dst[i] = byte(seq*7 + i)
	}
	binary.BigEndian.PutUint32(dst[14:], uint32(seq))
	return dst
}

// window is how many frames may be on their way: a back end that drops what does not
// fit a ring drops none of them.
const window = 48

// bounce sends num frames through queue pair q and checks that all come back, in
// order and unchanged.
func bounce(t testing.TB, g *guest.Guest, q, num, maxLen int, wait bool) {
	t.Helper()
	tx, rx := g.Tx[q], g.Rx[q]
	out := make([][]byte, 16)
	in := make([][]byte, 24)
	for i := range out {
		out[i] = make([]byte, maxLen)
	}
	for i := range in {
		in[i] = make([]byte, maxLen+1)
	}
	want := make([]byte, maxLen)
	deadline := time.Now().Add(20 * time.Second)
	for sent, got := 0, 0; got < num; {
		n := min(len(out), num-sent, window-(sent-got))
		for i := range n {
			out[i] = frame(out[i], sent+i, maxLen)
		}
		sent += tx.SendBurst(out[:n], nil)
		if wait && sent > got {
			if err := rx.Wait(deadline); err != nil {
				t.Fatalf("after %d of %d frames: %v", got, num, err)
			}
		}
		n = rx.RecvBurst(in, nil)
		for i := range n {
			if err := check(in[i], frame(want, got, maxLen)); err != nil {
				t.Fatalf("frame %d: %v", got, err)
			}
			got++
		}
		if n == 0 {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d frames after 20 s", got, num)
			}
			runtime.Gosched()
		}
	}
	if tx.Counters.Bad != 0 || rx.Counters.Bad != 0 {
		t.Errorf("bad completions: tx %d rx %d", tx.Counters.Bad, rx.Counters.Bad)
	}
}

func check(got, want []byte) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d bytes, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("byte %d is %#x, want %#x", i, got[i], want[i])
		}
	}
	return nil
}
