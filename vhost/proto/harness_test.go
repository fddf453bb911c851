package proto_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"baton/vhost/proto"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// countFDs is the number of this process's open descriptors.
func countFDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// noFDLeak checks at the test's end that as many descriptors are open as now, soon: a
// session does not wait for ever for the close of its socket, which a goroutine of its
// own does. It must be called before anything else that cleans up.
func noFDLeak(t testing.TB) {
	t.Helper()
	// The runtime's poller opens descriptors of its own on first use.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	before := countFDs(t)
	t.Cleanup(func() {
		eventually(t, fmt.Sprintf("%d descriptors are open, as before", before), func() bool { return countFDs(t) == before })
	})
}

// socketPair is two ends of a stream socket.
func socketPair(t testing.TB) (front, back *proto.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := [2]*proto.Conn{}
	for i, fd := range fds {
		if ends[i], err = proto.NewConnFromFD(fd); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { ends[0].Close(); ends[1].Close() })
	return ends[0], ends[1]
}

// peer is the front end of a session under test.
type peer struct {
	t       testing.TB
	conn    *proto.Conn
	session *proto.Session
	dev     *recorder
	msg     proto.Message
	events  int // an eventfd to send along
	before  int // descriptors that were open without it
}

func newPeer(t testing.TB, dev *recorder) *peer {
	t.Helper()
	noFDLeak(t)
	before := countFDs(t)
	front, back := socketPair(t)
	p := &peer{t: t, conn: front, dev: dev, before: before}
	var err error
	if p.events, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	p.session = proto.NewSession(back, proto.State{}, dev, nil)
	t.Cleanup(func() {
		p.session.Close()
		unix.Close(p.events)
	})
	return p
}

// send writes one message with nfds copies of an eventfd.
func (p *peer) send(r proto.Request, flags uint32, payload []byte, nfds int) {
	p.t.Helper()
	raw := append(proto.AppendHeader(nil, proto.Header{Request: r, Flags: flags, Size: uint32(len(payload))}), payload...)
	p.raw(raw, nfds)
}

func (p *peer) raw(b []byte, nfds int) {
	p.t.Helper()
	fds := make([]int, nfds)
	for i := range fds {
		fds[i] = p.events
	}
	if err := p.conn.WriteRaw(b, fds...); err != nil {
		p.t.Fatal(err)
	}
}

// wasRead waits until the session has read every byte that was sent.
func (p *peer) wasRead() {
	p.t.Helper()
	fd, err := p.conn.DupFD()
	if err != nil {
		p.t.Fatal(err)
	}
	defer unix.Close(fd)
	eventually(p.t, "all is read", func() bool {
		n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err == nil && n == 0
	})
}

// read waits for a reply.
func (p *peer) read() *proto.Message {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if err := p.conn.Read(&p.msg, nil); err != nil {
		p.t.Fatalf("no reply: %v", err)
	}
	return &p.msg
}

// sync waits until the session has worked on all messages: the reply to a GET
// comes after them.
func (p *peer) sync() {
	p.t.Helper()
	p.send(proto.GetFeatures, proto.FlagVersion, nil, 0)
	if m := p.read(); m.Request != proto.GetFeatures || m.Flags != 5 || len(m.Payload) != 8 {
		p.t.Fatalf("reply %v flags %#x size %d to GET_FEATURES", m.Request, m.Flags, len(m.Payload))
	}
}

// negotiate acknowledges the protocol features and forgets the calls.
func (p *peer) negotiate(features uint64) {
	p.t.Helper()
	p.send(proto.SetProtocolFeatures, proto.FlagVersion, u64(features), 0)
	p.sync()
	p.dev.take()
}

// wantAck sends with NEED_REPLY and checks the answer.
func (p *peer) wantAck(r proto.Request, payload []byte, nfds int, want uint64) {
	p.t.Helper()
	p.send(r, proto.FlagVersion|proto.FlagNeedReply, payload, nfds)
	m := p.read()
	v, err := proto.DecodeU64(m.Payload)
	if m.Request != r || m.Flags != proto.ReplyFlags || err != nil || v != want {
		p.t.Fatalf("%v answered by %v flags %#x payload %x, want ack %d", r, m.Request, m.Flags, m.Payload, want)
	}
}

// wantEnd waits for the session's end and checks the reason and that the device
// was told once.
func (p *peer) wantEnd(want error) {
	p.t.Helper()
	select {
	case <-p.session.Done():
	case <-time.After(10 * time.Second):
		p.t.Fatal("session goes on")
	}
	if err := p.session.Err(); !errors.Is(err, want) {
		p.t.Errorf("session ended: %v, want %v", err, want)
	}
	if n := p.dev.disconnects(); n != 1 {
		p.t.Errorf("device was told %d times that the session ended", n)
	}
}

func (p *peer) wantCalls(want ...string) {
	p.t.Helper()
	if got := p.dev.take(); fmt.Sprint(got) != fmt.Sprint(want) {
		p.t.Errorf("device saw %q, want %q", got, want)
	}
}

func u64(v uint64) []byte { return proto.AppendU64(nil, v) }

func vring(index, num uint32) []byte {
	return proto.AppendVringState(nil, proto.VringState{Index: index, Num: num})
}

func table(n int) []byte {
	regions := make([]proto.MemRegion, n)
	for i := range regions {
		regions[i] = proto.MemRegion{GuestAddr: uint64(i) << 20, Size: 1 << 20, UserAddr: uint64(i+1) << 20}
	}
	return proto.AppendMemTable(nil, regions)
}

func region(addr, size uint64) []byte {
	return proto.AppendMemReg(nil, proto.MemRegion{GuestAddr: addr, Size: size, UserAddr: addr})
}

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name + ".golden"
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("transcript differs from %s; got:\n%s", path, got)
	}
}

// transcript runs steps and writes down messages, replies and calls.
func transcript(p *peer, steps []step) string {
	var out strings.Builder
	for _, s := range steps {
		flags := proto.FlagVersion
		if s.ack {
			flags |= proto.FlagNeedReply
		}
		fmt.Fprintf(&out, "> %v flags=%#x size=%d fds=%d\n", s.req, flags, len(s.payload), s.fds)
		p.send(s.req, flags, s.payload, s.fds)
		if s.reply || s.ack {
			m := p.read()
			fmt.Fprintf(&out, "< %v flags=%#x % x\n", m.Request, m.Flags, m.Payload)
		} else {
			p.sync()
		}
		for _, c := range p.dev.take() {
			fmt.Fprintf(&out, "  %s\n", c)
		}
	}
	p.conn.Close()
	p.wantEnd(io.EOF)
	for _, c := range p.dev.take() {
		fmt.Fprintf(&out, "  %s\n", c)
	}
	return out.String()
}

// step is one message of a script.
type step struct {
	req     proto.Request
	payload []byte
	fds     int
	ack     bool // with NEED_REPLY, and an answer is expected
	reply   bool // has an answer of its own
}
