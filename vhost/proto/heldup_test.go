package proto_test

import (
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/vhost/peerfd/peerfdtest"
	"baton/vhost/proto"
)

// TestFDKinds: a descriptor of a kind that no front end has reason to send is refused by
// name, before the device sees it; a Unix socket only where one is wanted.
func TestFDKinds(t *testing.T) {
	dev := newRecorder()
	p := newPeer(t, dev)
	p.negotiate(proto.ProtocolReplyAck)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sock)
	for _, s := range []struct {
		step
		fd   int
		want uint64
	}{
		{step{req: proto.SetMemTable, payload: table(1)}, null, 1}, {step{req: proto.SetMemTable, payload: table(1)}, sock, 1},
		{step{req: proto.SetVringKick, payload: u64(0)}, null, 1}, {step{req: proto.SetVringCall, payload: u64(0)}, sock, 1},
		{step{req: proto.SetLogFD}, null, 1}, {step{req: proto.SetBackendReqFD}, null, 1}, {step{req: proto.SetBackendReqFD}, sock, 0},
	} {
		raw := append(proto.AppendHeader(nil, proto.Header{Request: s.req, Flags: 9, Size: uint32(len(s.payload))}), s.payload...)
		if err := p.conn.WriteRaw(raw, s.fd); err != nil {
			t.Fatal(err)
		}
		if v, err := proto.DecodeU64(p.read().Payload); err != nil || v != s.want {
			t.Errorf("%v with descriptor %d: ack %d, want %d", s.req, s.fd, v, s.want)
		}
	}
	p.wantCalls("SetBackendReqFD fd")
}

// TestHeldUp: descriptors that hold up whoever closes them, wherever in the stream they
// come, hold up nobody: the session ends, and the device knows.
func TestHeldUp(t *testing.T) {
	kick := append(proto.AppendHeader(nil, proto.Header{Request: proto.SetVringKick, Flags: 1, Size: 8}), u64(0)...)
	for name, c := range map[string]struct {
		num, at int // descriptors, and with which byte they come
		want    error
	}{
		"a kick": {1, 0, proto.ErrHeldUp}, "too many": {100, 0, proto.ErrTooManyFDs},
		"in the header": {3, 5, proto.ErrStrayFDs}, "in the payload": {253, 15, proto.ErrStrayFDs},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, newRecorder())
			fd, free := peerfdtest.Stuck(t)
			fds := make([]int, c.num)
			for i := range fds {
				fds[i] = fd
			}
			if c.at > 0 {
				p.raw(kick[:c.at], 0)
				p.wasRead()
			} else { // it reads on when ours is closed, so that the last one is its own
				p.dev.mu.Lock()
				p.send(proto.SetOwner, proto.FlagVersion, nil, 0)
				p.wasRead()
			}
			if err := p.conn.WriteRaw(kick[c.at:], fds...); err != nil {
				t.Fatal(err)
			}
			closed := make(chan struct{})
			go func() { defer close(closed); unix.Close(fd) }()
			if c.at == 0 {
				<-closed
				p.dev.mu.Unlock()
			}
			p.wantEnd(c.want)
			if c.at == 0 && !errors.Is(p.session.Err(), proto.ErrHeldUp) {
				t.Errorf("%v does not say that it was held up", p.session.Err())
			}
			p.dev.take()
			if n := p.dev.disconnects(); n != 1 {
				t.Errorf("%d ends told to the device", n)
			}
			free()
			<-closed
			eventually(t, "all are closed", func() bool { return countFDs(t) <= p.before+2 }) // its end of the socket, and the peer's events
		})
	}
}

// TestHeldUpUnread: what was sent to a connection, and never read, is closed with it and
// holds up nobody; but that front end gets no other session before it is closed.
func TestHeldUpUnread(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dev := newRecorder()
	connect(t, proto.Config{Path: path, Mode: proto.ModeServer, Backend: dev})
	dial := func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	trap := func(c net.Conn) (free func()) {
		fd, free := peerfdtest.StuckUnix(t)
		conn, err := proto.NewConn(c.(*net.UnixConn))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.WriteRaw(make([]byte, proto.HeaderSize), fd); err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		return free
	}
	first := dial()
	talk(t, first)
	// The head, at which the session ends, is read; what comes behind it is not.
	dev.mu.Lock()
	if _, err := first.Write(proto.AppendHeader(nil, proto.Header{Request: proto.SetOwner, Flags: 1})); err != nil {
		t.Fatal(err)
	}
	bad := proto.AppendHeader(nil, proto.Header{Request: proto.SetOwner, Flags: 2})
	if _, err := first.Write(bad); err != nil {
		t.Fatal(err)
	}
	free := trap(first)
	dev.mu.Unlock()
	eventually(t, "the session ends", func() bool { return dev.disconnects() == 1 })
	second := dial()
	if _, err := second.Write(proto.AppendHeader(nil, proto.Header{Request: proto.GetFeatures, Flags: 1})); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, proto.HeaderSize+8)
	second.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := second.Read(answer); err == nil {
		t.Error("another session, while the former one's descriptors are held up")
	}
	free()
	second.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := second.Read(answer); err != nil {
		t.Errorf("no other session: %v", err)
	}

	trap(dial()) // never accepted; the connector's end, by the test's, does not wait for it
}
