package netdev_test

import (
	"bytes"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"baton/vhost/eventfd"
	"baton/vhost/netdev"

	"golang.org/x/sys/unix"
)

// FuzzSession is a front end gone mad: a stream of messages with descriptors, right and
// wrong ones, to the real session and device, whose rings run under a worker meanwhile,
// over memory that is scribbled on and cut short. Nothing may panic or hang, and when
// the front end is gone no descriptor, mapping, buffer or goroutine may be left of it.
func FuzzSession(f *testing.F) {
	warmUp(f)
	for _, name := range []string{"split", "packed"} {
		for _, s := range seedScripts() {
			f.Add(name == "packed", s)
		}
	}
	f.Fuzz(func(t *testing.T, packed bool, script []byte) {
		goroutines := runtime.NumGoroutine()
		fds := openFDs(t)
		t.Cleanup(func() { // the last one: after the rig's own
			eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
			// What was under way in a socket that is closed, the kernel closes a little later.
			eventually(t, "descriptors are closed", func() bool { return openFDs(t) <= fds })
			if n := guestMappings(t); n != 0 {
				t.Errorf("%d mappings are left", n)
			}
		})
		playScript(t, packed, &bytesReader{script})
	})
}

// warmUp makes the runtime and package eventfd open what they keep open.
func warmUp(f *testing.F) {
	l, err := net.Listen("unix", "@baton-fuzz-session")
	if err != nil {
		f.Fatal(err)
	}
	l.Close()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		f.Fatal(err)
	}
	eventfd.Signal(fd)
	unix.Close(fd)
}

// playScript runs one front end's life.
func playScript(t *testing.T, packed bool, script *bytesReader) {
	l := newLoop()
	g := newRig(t, func(c *netdev.Config) { c.Quiescer, c.QueuePairs = l, 2 })
	q := g.dev.Queue(0)
	l.run(func() {
		n := q.Rx(g.cache, &g.vec)
		took := q.Tx(g.cache, &g.vec, n)
		for i := took; i < n; i++ {
			g.cache.Free(g.vec[i])
		}
		q.Arm()
		q.Disarm()
		n = g.dev.Queue(1).Rx(g.cache, &g.vec)
		g.cache.FreeAll(&g.vec, n)
	})
	defer l.halt()
	m := newMadFrontEnd(t, g, packed)
	m.bringUp()
	for i := 0; i < 64 && script.more() && m.step(script); i++ {
		g.dev.Snapshot()
	}
	m.conn.Close()
	select {
	case <-m.session.Done():
	case <-time.After(20 * time.Second):
		t.Error("the session hangs")
		return
	}
	if s := g.dev.Snapshot(); s.Connected || s.Up || len(s.Regions) != 0 || s.LogSize != 0 {
		t.Errorf("left of the session: %+v", s)
	}
}

// guestMappings counts mappings of guests' memory files in this process.
func guestMappings(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(maps, []byte("memfd:guest"))
}

// bytesReader reads a script; behind its end are zeros.
type bytesReader struct{ left []byte }

func (r *bytesReader) more() bool { return len(r.left) > 0 }

func (r *bytesReader) next() int {
	if len(r.left) == 0 {
		return 0
	}
	b := r.left[0]
	r.left = r.left[1:]
	return int(b)
}

// seedScripts have, for each request, one that is right, one with each kind of descriptor
// and one with each part changed; then what ends a session at once.
func seedScripts() (all [][]byte) {
	for i := range madRequests {
		one := []byte{byte(i), needReply, 1, byte(i), 0, 0}
		for kind := range int(numKinds) {
			one = append(one, byte(i), wrongFDs|needReply, 1, 1, byte(kind))
		}
		for at := range 5 {
			one = append(one, byte(i), perturb|needReply, 1, byte(at*7), 0xff, byte(i), needReply, 0)
		}
		all = append(all, append(one, byte(i), shortSize|needReply, 0))
	}
	return append(all,
		[]byte{opScribble, 0, 9, 16, opScribble, 1, 200, 255, opTruncate, 0, 0},
		[]byte{opTruncate, 3, 0, opScribble, 0, 1, 1},
		[]byte{4, wrongFDs, 1, 9},   // more descriptors than any message has
		[]byte{1, badVersion, 0},    // a reply
		[]byte{8, cutPayload, 1, 0}, // the rest never comes
	)
}
