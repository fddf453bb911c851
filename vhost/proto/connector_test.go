package proto_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"baton/vhost/proto"
)

// connect starts a connector that the test's end closes.
func connect(t *testing.T, cfg proto.Config) *proto.Connector {
	t.Helper()
	cfg.Port = "p1"
	if cfg.RetryMin == 0 {
		cfg.RetryMin, cfg.RetryMax = time.Millisecond, 5*time.Millisecond
	}
	if cfg.Backend == nil {
		cfg.Backend = newRecorder()
	}
	c, err := proto.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// talk exchanges one message over sock.
func talk(t *testing.T, sock net.Conn) {
	t.Helper()
	conn, err := proto.NewConn(sock.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(proto.Header{Request: proto.GetFeatures, Flags: 1}, nil); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var m proto.Message
	if err := conn.Read(&m, nil); err != nil {
		t.Fatal(err)
	}
}

// TestClientRestarts is QEMU that starts late, restarts, and dies: the connector
// finds it each time.
func TestClientRestarts(t *testing.T) {
	noFDLeak(t)
	path := filepath.Join(t.TempDir(), "s")
	dev := newRecorder()
	c := connect(t, proto.Config{Path: path, Backend: dev})
	for i := range 5 {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		sock, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		talk(t, sock)
		if !c.Connected() {
			t.Error("not connected")
		}
		l.Close()
		sock.Close()
		eventually(t, "session ends", func() bool { return dev.disconnects() == i+1 && !c.Connected() })
	}
}

// TestServerRestarts is a front end that comes and goes, and then our own
// restart, with the socket file left behind by a crash.
func TestServerRestarts(t *testing.T) {
	noFDLeak(t)
	path := filepath.Join(t.TempDir(), "s")
	cfg := proto.Config{Path: path, Mode: proto.ModeServer, SocketMode: 0o600}
	for range 3 {
		c := connect(t, cfg)
		for range 3 {
			sock, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			talk(t, sock)
			sock.Close()
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("socket file %v, %v", info, err)
		}
		c.Close()
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("socket file is still there: %v", err)
		}
		leaveStale(t, path)
	}
}

// leaveStale makes a socket file that nobody listens on.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// TestServerDefaultMode checks that the group can connect, whatever the umask.
func TestServerDefaultMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	connect(t, proto.Config{Path: path, Mode: proto.ModeServer})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket file %v, %v", info, err)
	}
}

// TestServerOneFrontEnd checks that a second front end waits until the first leaves.
func TestServerOneFrontEnd(t *testing.T) {
	noFDLeak(t)
	path := filepath.Join(t.TempDir(), "s")
	dev := newRecorder()
	connect(t, proto.Config{Path: path, Mode: proto.ModeServer, Backend: dev})
	first, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	talk(t, first)
	second, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if n := dev.disconnects(); n != 0 {
		t.Errorf("first session ended")
	}
	first.Close()
	talk(t, second)
	if n := dev.disconnects(); n != 1 {
		t.Errorf("device was told %d times", n)
	}
}

// TestServerPaced checks that a front end which connects, talks and hangs up again and again
// gets its sessions, and their log lines, at our pace and not at its own.
func TestServerPaced(t *testing.T) {
	noFDLeak(t)
	path := filepath.Join(t.TempDir(), "s")
	dev := newRecorder()
	connect(t, proto.Config{Path: path, Mode: proto.ModeServer, Backend: dev, RetryMin: time.Hour})
	for range 20 {
		sock, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sock.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		sock.Close()
	}
	eventually(t, "first session ends", func() bool { return dev.disconnects() > 0 })
	last, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	last.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := last.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if n := dev.disconnects(); n != 1 {
		t.Errorf("%d sessions without a pause", n)
	}
}

// TestServerSkipsTheGone: front ends that hung up while they waited hold up nobody.
func TestServerSkipsTheGone(t *testing.T) {
	noFDLeak(t)
	path := filepath.Join(t.TempDir(), "s")
	dev := newRecorder()
	connect(t, proto.Config{Path: path, Mode: proto.ModeServer, Backend: dev, RetryMin: time.Millisecond, RetryMax: time.Hour})
	dial := func() net.Conn {
		sock, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return sock
	}
	first := dial()
	talk(t, first)
	for range 100 {
		dial().Close()
	}
	last := dial()
	defer last.Close()
	first.Close()
	talk(t, last)
	if n := dev.disconnects(); n != 1 {
		t.Errorf("%d sessions ended, want the first alone", n)
	}
}

// TestLogIsBounded: front ends that come again and again with what is refused have so
// many lines and no more.
func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var mu sync.Mutex
	lines := 0
	log := hclog.New(&hclog.LoggerOptions{Output: writerFunc(func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		lines += bytes.Count(b, []byte{'\n'})
	})})
	c := connect(t, proto.Config{Path: path, Mode: proto.ModeServer, Log: log})
	const sessions, each = 20, 10
	for range sessions {
		sock, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := proto.NewConn(sock.(*net.UnixConn))
		if err != nil {
			t.Fatal(err)
		}
		for range each {
			if err := conn.Write(proto.Header{Request: 46, Flags: 1}, nil); err != nil {
				t.Fatal(err)
			}
		}
		talk(t, sock) // all were read
		sock.Close()
	}
	eventually(t, "all sessions end", func() bool { return !c.Connected() })
	c.Close()
	refused := uint64(0)
	for _, n := range c.Refusals() {
		refused += n
	}
	if most := 64 + 10; lines > most || refused != sessions*each {
		t.Errorf("%d lines, want at most %d; %d refused, want %d", lines, most, refused, sessions*each)
	}
}

type writerFunc func(b []byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

// TestStartRefused has the configurations that cannot work: one line that names
// port, path and fix, and nothing changed.
func TestStartRefused(t *testing.T) {
	noFDLeak(t)
	dir := t.TempDir()
	busy := filepath.Join(dir, "busy")
	l, err := net.Listen("unix", busy)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		busy:                          "another process listens on this socket path: stop it or choose another path",
		file:                          "a file that is no socket is in the way",
		filepath.Join(dir, "no", "s"): "no such file or directory",
		filepath.Join(dir, strings.Repeat("long", 40)): "choose a shorter one",
		"": "no path is given",
	} {
		_, err := proto.Start(context.Background(), proto.Config{Port: "p7", Path: path, Mode: proto.ModeServer, Backend: newRecorder()})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "vhost p7: socket "+path) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := os.Stat(busy); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestServerOutOfDescriptors is EMFILE of item 41: accept fails, and works again
// when descriptors are free.
func TestServerOutOfDescriptors(t *testing.T) {
	noFDLeak(t)
	path := filepath.Join(t.TempDir(), "s")
	var log lockedBuffer
	connect(t, proto.Config{Path: path, Mode: proto.ModeServer, Log: hclog.New(&hclog.LoggerOptions{Output: &log})})
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	// No descriptor above the ones in use can be had.
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(log.String(), "too many open files") && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if err := errors.Join(err, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "too many open files") {
		t.Error("accept found a descriptor")
	}
	file := os.NewFile(uintptr(fd), "front end")
	sock, err := net.FileConn(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	talk(t, sock)
}

// lockedBuffer collects log lines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestLog checks that connecting and disconnecting are one line each, with a reason.
func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var log lockedBuffer
	c := connect(t, proto.Config{Path: path, Mode: proto.ModeServer, Log: hclog.New(&hclog.LoggerOptions{Output: &log})})
	sock, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	talk(t, sock)
	sock.Close()
	eventually(t, "session ends", func() bool { return strings.Contains(log.String(), "closed by the front end") })
	c.Close()
	if lines := strings.Count(log.String(), "\n"); lines != 2 {
		t.Errorf("%d lines:\n%s", lines, log.String())
	}
}

// TestConnectNeverAnswered is the other half of item 41: a listener that never
// accepts and whose queue is full costs nobody anything.
func TestConnectNeverAnswered(t *testing.T) {
	noFDLeak(t)
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	full, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	c := connect(t, proto.Config{Path: path})
	waiting := connect(t, proto.Config{Path: path})
	c.Close()
	waiting.Close()
}

// TestContextEnds checks that cancelling ends connector and session.
func TestContextEnds(t *testing.T) {
	noFDLeak(t)
	for _, mode := range []proto.Mode{proto.ModeServer, proto.ModeClient} {
		path := filepath.Join(t.TempDir(), "s")
		ctx, cancel := context.WithCancel(context.Background())
		dev := newRecorder()
		c, err := proto.Start(ctx, proto.Config{Port: "p1", Path: path, Mode: mode, Backend: dev})
		if err != nil {
			t.Fatal(err)
		}
		if mode == proto.ModeServer {
			sock, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer sock.Close()
			talk(t, sock)
		}
		cancel()
		<-c.Done()
		if mode == proto.ModeServer && dev.disconnects() != 1 {
			t.Errorf("device was told %d times", dev.disconnects())
		}
	}
}

// TestConnectorDetach moves a connected front end to another connector, in both
// modes, without the front end seeing anything.
func TestConnectorDetach(t *testing.T) {
	noFDLeak(t)
	path := filepath.Join(t.TempDir(), "s")
	old := connect(t, proto.Config{Path: path, Mode: proto.ModeServer})
	sock, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	talk(t, sock)
	a, err := old.Detach(context.Background())
	if err != nil || a == nil {
		t.Fatalf("%v, %v", a, err)
	}
	<-old.Done()
	dev := newRecorder()
	heir := connect(t, proto.Config{Path: path, Mode: proto.ModeServer, Adopted: a, Backend: dev})
	talk(t, sock)
	sock.Close()
	eventually(t, "session ends", func() bool { return dev.disconnects() == 1 })
	next, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	talk(t, next)
	next.Close()
	eventually(t, "session ends", func() bool { return dev.disconnects() == 2 && !heir.Connected() })
	if a, err := heir.Detach(context.Background()); a != nil || err != nil {
		t.Errorf("%v, %v", a, err)
	}
}

// TestConnectorShare: a duplicate of the socket is all that another process needs to go on
// when this one is gone, and the session does not notice it.
func TestConnectorShare(t *testing.T) {
	noFDLeak(t)
	path := filepath.Join(t.TempDir(), "s")
	old := connect(t, proto.Config{Path: path, Mode: proto.ModeServer})
	if a, err := old.Share(); a != nil || err != nil {
		t.Fatalf("nobody is connected: %v, %v", a, err)
	}
	sock, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	talk(t, sock)
	shared, err := old.Share()
	if err != nil || shared == nil {
		t.Fatalf("%v, %v", shared, err)
	}
	talk(t, sock)
	gone, err := old.Detach(context.Background()) // without a hang-up, as a process dies
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(gone.FD)
	<-old.Done()
	dev := newRecorder()
	connect(t, proto.Config{Path: path, Mode: proto.ModeServer, Adopted: shared, Backend: dev})
	talk(t, sock)
	sock.Close()
	eventually(t, "session ends", func() bool { return dev.disconnects() == 1 })
}

// busyRecorder notes whether the connector is busy when its device is called.
type busyRecorder struct {
	*recorder
	busy  *atomic.Bool
	idles atomic.Uint64 // calls while it was not
}

func (r *busyRecorder) Features() uint64 {
	if !r.busy.Load() {
		r.idles.Add(1)
	}
	return r.recorder.Features()
}

func (r *busyRecorder) Disconnected() {
	if !r.busy.Load() {
		r.idles.Add(1)
	}
	r.recorder.Disconnected()
}

// TestConnectorBusy: a connector is busy from before it takes a message until after the answer,
// and until the device knows of the end; and not while it waits, before and after a hand-over.
func TestConnectorBusy(t *testing.T) {
	noFDLeak(t)
	path := filepath.Join(t.TempDir(), "s")
	var busy atomic.Bool
	dev := &busyRecorder{recorder: newRecorder(), busy: &busy}
	cfg := proto.Config{Path: path, Mode: proto.ModeServer, Backend: dev, Busy: busy.Store}
	c := connect(t, cfg)
	sock, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	idle := func() bool { return !busy.Load() }
	for range 20 {
		talk(t, sock)
		eventually(t, "waits", idle)
	}
	if cfg.Adopted, err = c.Detach(context.Background()); err != nil {
		t.Fatal(err)
	}
	if busy.Load() {
		t.Error("busy with a session that was given up")
	}
	connect(t, cfg)
	talk(t, sock)
	eventually(t, "waits", idle)
	sock.Close()
	eventually(t, "session ends", func() bool { return dev.disconnects() == 1 && idle() })
	if n := dev.idles.Load(); n != 0 {
		t.Errorf("the device was called %d times while the connector was not busy", n)
	}
}
