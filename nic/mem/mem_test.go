package mem_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/port"
	"baton/nic/mem"

	"golang.org/x/sys/unix"
)

func mustPort(t *testing.T, opts mem.Options) *mem.Port {
	t.Helper()
	p, err := mem.New("p", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestInjectAndSent(t *testing.T) {
	p, c := mustPort(t, mem.Options{Queues: 2, Depth: 50}), buftest.NewCache(t, 512)
	for i := range 60 {
		if took := p.InjectAt(1, fmt.Appendf(nil, "frame %d", i)); took != (i < 50) {
			t.Fatalf("frame %d taken: %v", i, took)
		}
	}
	var v buf.Vec
	if n := p.Queue(0).Rx(c, &v); n != 0 {
		t.Errorf("%d frames on the other queue", n)
	}
	total := 0
	for _, want := range []int{32, 18, 0} {
		n := p.Queue(1).Rx(c, &v)
		if n != want {
			t.Fatalf("Rx = %d, want %d", n, want)
		}
		for _, b := range v[:n] {
			if string(b.Data()) != fmt.Sprintf("frame %d", total) {
				t.Errorf("frame %d is %q", total, b.Data())
			}
			total++
		}
		if took := p.Queue(0).Tx(c, &v, n); took != n {
			t.Fatalf("Tx took %d of %d", took, n)
		}
	}
	b := c.Alloc()
	b.SetFrame([]byte("too many"))
	v[0] = b
	if took := p.Queue(0).Tx(c, &v, 1); took != 0 {
		t.Error("a full queue took a frame")
	}
	c.Free(b)
	sent := p.Sent()
	if len(sent) != 50 || string(sent[49]) != "frame 49" || len(p.Sent()) != 0 {
		t.Errorf("%d frames sent: %q", len(sent), sent)
	}
	if p.Inject(make([]byte, mem.MaxFrame+1)) || !p.Inject(make([]byte, mem.MaxFrame)) || p.Waiting(0) != 1 {
		t.Error("limit of a frame's length")
	}
}

// Without buffers frames wait; they are not lost.
func TestNoBuffers(t *testing.T) {
	p, c := mustPort(t, mem.Options{}), buftest.NewCache(t, 1)
	p.Inject([]byte("one"))
	p.Inject([]byte("two"))
	var v buf.Vec
	for _, want := range []string{"one", "two"} {
		if n := p.Queue(0).Rx(c, &v); n != 1 || string(v[0].Data()) != want {
			t.Fatalf("Rx = %d", n)
		}
		c.Free(v[0])
	}
}

// epollWaker counts what is registered and says whether something is readable.
type epollWaker struct{ fd, num int }

func (w *epollWaker) Add(fd int) error {
	w.num++
	return unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET})
}

func (w *epollWaker) Remove(fd int) {
	w.num--
	_ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, fd, nil)
}

func (w *epollWaker) readable() bool {
	var ev [1]unix.EpollEvent
	n, err := unix.EpollWait(w.fd, ev[:], 0)
	return err == nil && n > 0
}

func TestArm(t *testing.T) {
	p, c := mustPort(t, mem.Options{}), buftest.NewCache(t, 64)
	q := p.Queue(0)
	if a := q.Arm(); a != port.ArmPoll {
		t.Errorf("Arm without a waker = %v", a)
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	w := &epollWaker{fd: fd}
	q.Attach(w)
	var v buf.Vec
	for range 3 {
		if a := q.Arm(); a != port.ArmSet || w.readable() {
			t.Fatalf("Arm = %v, readable at once: %v", a, w.readable())
		}
		p.Inject([]byte("x"))
		if !w.readable() {
			t.Fatal("no wake-up")
		}
		q.Disarm()
		p.Inject([]byte("y"))
		if w.readable() {
			t.Error("a wake-up while not armed")
		}
		if a := q.Arm(); a != port.ArmReady {
			t.Errorf("Arm with frames = %v", a)
		}
		c.FreeAll(&v, q.Rx(c, &v))
	}
	q.Attach(nil)
	if w.num != 0 {
		t.Errorf("%d descriptors left", w.num)
	}
}

func TestPair(t *testing.T) {
	a, b, err := mem.NewPair("a", "b", mem.Options{Queues: 2, Kind: port.KindNIC})
	if err != nil {
		t.Fatal(err)
	}
	c := buftest.NewCache(t, 64)
	if a.Kind() != port.KindNIC || a.Info().Detail != "wire to b" || !b.Info().Up || b.NumQueues() != 2 {
		t.Errorf("%+v %+v", a.Info(), b.Info())
	}
	send := func(from, to port.Queue, text string) {
		t.Helper()
		var v buf.Vec
		v[0] = c.Alloc()
		v[0].SetFrame([]byte(text))
		if from.Tx(c, &v, 1) != 1 || to.Rx(c, &v) != 1 || string(v[0].Data()) != text {
			t.Errorf("%q did not arrive", text)
		}
		c.Free(v[0])
	}
	for i := range 2 {
		send(a.Queue(i), b.Queue(i), "there")
		send(b.Queue(i), a.Queue(i), "and back")
	}
	a.SetUp(false)
	if a.Info().Up || a.Close() != nil || b.Close() != nil || a.Close() != nil || b.Inject([]byte("x")) {
		t.Error("Close")
	}
}

// A test's goroutine beside the worker's.
func TestTwoGoroutines(t *testing.T) {
	const num = 2000
	p, c := mustPort(t, mem.Options{Depth: 16}), buftest.NewCache(t, 64)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; i < num; {
			if p.Inject(fmt.Appendf(nil, "%d", i)) {
				i++
			} else {
				runtime.Gosched()
			}
		}
	})
	wg.Go(func() {
		got := 0
		for got < num {
			for _, f := range p.Sent() {
				if string(f) != fmt.Sprint(got) {
					t.Errorf("frame %d is %q", got, f)
				}
				got++
			}
			runtime.Gosched()
		}
	})
	var v buf.Vec
	for moved := 0; moved < num; {
		n := p.Queue(0).Rx(c, &v)
		moved += n
		for done := 0; done < n; {
			took := p.Queue(0).Tx(c, &v, n-done)
			done += took
			copy(v[:], v[took:])
		}
		runtime.Gosched()
	}
	wg.Wait()
}

func TestChain(t *testing.T) {
	p, c := mustPort(t, mem.Options{}), buftest.NewCache(t, 4)
	a, b := c.Alloc(), c.Alloc()
	a.SetFrame([]byte("head "))
	b.SetFrame([]byte("tail"))
	a.Link(a, b)
	if p.Queue(0).Tx(c, &buf.Vec{a}, 1) != 1 {
		t.Fatal("Tx")
	}
	if c.Held() != 2 {
		t.Errorf("%d of 2 buffers are back", c.Held())
	}
	if sent := p.Sent(); len(sent) != 1 || string(sent[0]) != "head tail" {
		t.Errorf("sent %q", sent)
	}
}

func TestAllocs(t *testing.T) {
	p, c := mustPort(t, mem.Options{}), buftest.NewCache(t, 512)
	v, f := new(buf.Vec), make([]byte, 100)
	q := p.Queue(0)
	a, b, err := mem.NewPair("a", "b", mem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if n := testing.AllocsPerRun(500, func() {
		p.Inject(f)
		a.Queue(0).Tx(c, v, q.Rx(c, v))
		c.FreeAll(v, b.Queue(0).Rx(c, v))
		q.Arm()
		q.Disarm()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWrongOptions(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts mem.Options
	}{{"", mem.Options{}}, {"x", mem.Options{Queues: -1}}, {"x", mem.Options{Depth: -1}}} {
		if _, err := mem.New(tt.name, tt.opts); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("New(%q, %+v): %v", tt.name, tt.opts, err)
		}
		if _, _, err := mem.NewPair(tt.name, "y", tt.opts); err == nil {
			t.Errorf("NewPair(%q, %+v): no error", tt.name, tt.opts)
		}
	}
}
