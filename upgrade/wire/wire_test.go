package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"baton/upgrade/wire"
)

// conn is the Conn of a socket's descriptor, which it owns.
func conn(t testing.TB, fd int) *wire.Conn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	n, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	c, err := wire.NewConn(n.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// sockets are a connected pair.
func sockets(t testing.TB, kind int) [2]int {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds
}

func pair(t testing.TB) (a, b *wire.Conn) {
	t.Helper()
	fds := sockets(t, unix.SOCK_SEQPACKET)
	return conn(t, fds[0]), conn(t, fds[1])
}

// numbered is a descriptor that can be told from others.
func numbered(t testing.TB, n int) int {
	fd, err := unix.MemfdCreate(fmt.Sprint(n), unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Pwrite(fd, binary.LittleEndian.AppendUint32(nil, uint32(n)), 0); err != nil {
		t.Fatal(err)
	}
	return fd
}

func numberOf(t testing.TB, fd int) int {
	var b [4]byte
	if _, err := unix.Pread(fd, b[:], 0); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor %d lives on in children: %v", fd, err)
	}
	return int(binary.LittleEndian.Uint32(b[:]))
}

// numFDs is how many descriptors the process has open.
func numFDs(t testing.TB) int {
	l, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(l)
}

// What is sent comes as it was, of any size, with all descriptors in order, and nothing is
// left open.
func TestSections(t *testing.T) {
	a, b := pair(t)
	const most = 600
	var fds []int
	for i := range most {
		fds = append(fds, numbered(t, i))
	}
	defer (&wire.Section{Files: fds}).Close()
	before := numFDs(t)
	rapid.Check(t, func(rt *rapid.T) {
		var all []wire.Section
		for range rapid.IntRange(1, 3).Draw(rt, "sections") {
			s := wire.Section{Tag: wire.Tag{Kind: wire.Kind(rapid.Uint16().Draw(rt, "kind")), Version: rapid.Uint16().Draw(rt, "version"), Mandatory: rapid.Bool().Draw(rt, "mandatory")}}
			n := rapid.SampledFrom([]int{0, 1, 100, 32<<10 - 13, 32<<10 - 12, 32<<10 - 11, 64 << 10, 200_000}).Draw(rt, "length")
			s.Payload = bytes.Repeat([]byte{byte(n), 1, 2}, n/3+1)[:n]
			from := rapid.IntRange(0, most).Draw(rt, "from")
			s.Files = fds[from:rapid.SampledFrom([]int{from, min(from+1, most), min(from+250, most), min(from+251, most), most}).Draw(rt, "to")]
			all = append(all, s)
		}
		sent := make(chan error, 1)
		go func() {
			for _, s := range all {
				if err := a.Send(s); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		for _, want := range all {
			got, err := b.Receive()
			if err != nil {
				rt.Fatal(err)
			}
			if got.Tag != want.Tag || !bytes.Equal(got.Payload, want.Payload) || len(got.Files) != len(want.Files) {
				rt.Fatalf("%v, %d bytes, %d descriptors came; %v, %d and %d were sent", got.Tag, len(got.Payload), len(got.Files), want.Tag, len(want.Payload), len(want.Files))
			}
			for i, fd := range got.Files {
				if numberOf(t, fd) != numberOf(t, want.Files[i]) {
					rt.Fatalf("descriptor %d is another one", i)
				}
			}
			got.Close()
		}
		if err := <-sent; err != nil {
			rt.Fatal(err)
		}
	})
	if after := numFDs(t); after != before {
		t.Errorf("%d descriptors were open, and %d are", before, after)
	}
}

// Await tells that something is there, or that the peer has gone, and takes nothing.
func TestAwait(t *testing.T) {
	a, b := pair(t)
	if err := b.SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := b.Await(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing is there: %v", err)
	}
	if err := b.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	fd := numbered(t, 7)
	want := wire.Section{Tag: wire.Tag{Kind: 3, Version: 1}, Payload: bytes.Repeat([]byte("x"), 300_000), Files: []int{fd}}
	go func() {
		if err := a.Send(want); err != nil {
			t.Error(err)
		}
		a.Close()
	}()
	for range 3 {
		if err := b.Await(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Receive()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if !bytes.Equal(got.Payload, want.Payload) || len(got.Files) != 1 || numberOf(t, got.Files[0]) != 7 {
		t.Errorf("%d bytes and %d descriptors came", len(got.Payload), len(got.Files))
	}
	if err := b.Await(); err != nil {
		t.Errorf("the peer has gone: %v", err)
	}
	if _, err := b.Receive(); err != io.EOF {
		t.Errorf("the peer has gone: %v", err)
	}
}

func TestSections_limits(t *testing.T) {
	a, _ := pair(t)
	if err := a.Send(wire.Section{Payload: make([]byte, wire.MaxPayload+1)}); err == nil {
		t.Error("a payload beyond the limit was sent")
	}
	if err := a.Send(wire.Section{Files: make([]int, wire.MaxFiles+1)}); err == nil {
		t.Error("more descriptors than the limit were sent")
	}
	if err := a.Send(wire.Section{Files: []int{-1}}); err == nil {
		t.Error("a descriptor that is none was sent")
	}
}

// raw is a peer that sends what it likes.
func raw(t testing.TB) (fd int, c *wire.Conn) {
	t.Helper()
	fds := sockets(t, unix.SOCK_SEQPACKET)
	return fds[0], conn(t, fds[1])
}

// first is a first frame.
func first(flags byte, files uint16, length uint32, payload string) []byte {
	b := []byte{1, flags, 7, 0, 1, 0}
	b = binary.LittleEndian.AppendUint16(b, files)
	return append(binary.LittleEndian.AppendUint32(b, length), payload...)
}

// A peer that sends anything but sections gets an error, and leaves no descriptor behind.
func TestHostilePeer(t *testing.T) {
	type frame struct {
		b     []byte
		files int
	}
	for name, c := range map[string]struct {
		frames []frame
		want   error
	}{
		"nothing":                    {nil, io.EOF},
		"no kind of frame":           {[]frame{{[]byte{9}, 0}}, wire.ErrFormat},
		"too short":                  {[]frame{{[]byte{1, 0, 1}, 3}}, wire.ErrFormat},
		"unknown flags":              {[]frame{{first(2, 0, 0, ""), 0}}, wire.ErrFormat},
		"too long a payload":         {[]frame{{first(0, 0, wire.MaxPayload+1, ""), 2}}, wire.ErrFormat},
		"too many descriptors":       {[]frame{{first(0, wire.MaxFiles+1, 0, ""), 0}}, wire.ErrFormat},
		"more payload than promised": {[]frame{{first(0, 0, 1, "abc"), 0}}, wire.ErrFormat},
		"more later":                 {[]frame{{first(0, 0, 2, "a"), 0}, {[]byte("\x02bcd"), 1}}, wire.ErrFormat},
		"descriptors not promised":   {[]frame{{first(0, 0, 0, ""), 3}}, wire.ErrFormat},
		"too few, then another":      {[]frame{{first(0, 5, 0, ""), 3}, {first(0, 0, 0, ""), 1}}, wire.ErrFormat},
		"an empty further frame":     {[]frame{{first(0, 5, 1, ""), 1}, {[]byte{2}, 0}}, wire.ErrFormat},
		"ends within":                {[]frame{{first(0, 5, 100, "abc"), 4}}, io.ErrUnexpectedEOF},
		"a frame that is too large":  {[]frame{{append(first(0, 0, 40<<10, ""), make([]byte, 40<<10)...), 2}}, wire.ErrFormat},
		"a further frame first":      {[]frame{{[]byte("\x02abc"), 1}}, wire.ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			fd, conn := raw(t)
			before := numFDs(t)
			for _, f := range c.frames {
				var fds []int
				for range f.files {
					fds = append(fds, numbered(t, 1))
				}
				if err := unix.Sendmsg(fd, f.b, unix.UnixRights(fds...), nil, 0); err != nil {
					t.Fatal(err)
				}
				(&wire.Section{Files: fds}).Close()
			}
			unix.Close(fd)
			s, err := conn.Receive()
			if !errors.Is(err, c.want) || s.Files != nil || s.Payload != nil {
				t.Errorf("%+v, %v; want %v", s, err, c.want)
			}
			if after := numFDs(t); after != before-1 { // fd
				t.Errorf("%d descriptors were open, and %d are", before-1, after)
			}
		})
	}
}

// A peer that promises much and sends little costs little.
func TestPromisedPayload(t *testing.T) {
	fd, conn := raw(t)
	if err := unix.Sendmsg(fd, first(0, 0, wire.MaxPayload, "abc"), nil, nil, 0); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := conn.Receive(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > wire.MaxPayload/16 {
		t.Errorf("%d bytes were allocated for 3", after.TotalAlloc-before.TotalAlloc)
	}
}

// An offer is taken if all that is mandatory is known, in its version; the giver hears why it
// is not.
func TestOffer(t *testing.T) {
	knows := map[wire.Kind]wire.Known{1: {1, 3}, 2: {2, 2}}
	tag := func(k wire.Kind, v uint16, must bool) wire.Tag {
		return wire.Tag{Kind: k, Version: v, Mandatory: must}
	}
	for name, c := range map[string]struct {
		tags []wire.Tag
		want string // of the refusal
	}{
		"nothing":           {nil, ""},
		"all known":         {[]wire.Tag{tag(1, 1, true), tag(1, 3, true), tag(2, 2, false)}, ""},
		"optional, unknown": {[]wire.Tag{tag(9, 1, false), tag(1, 7, false)}, ""},
		"unknown":           {[]wire.Tag{tag(9, 1, true), tag(1, 2, true)}, "section 9 version 1 is not known"},
		"too new":           {[]wire.Tag{tag(1, 4, true)}, "section 1 version 4: versions 1 to 3 are known"},
		"too old":           {[]wire.Tag{tag(2, 1, true)}, "section 2 version 1: versions 2 to 2 are known"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			type taken struct {
				o   wire.Offer
				err error
			}
			got := make(chan taken, 1)
			go func() {
				o, err := b.Accept("batond 2", knows)
				got <- taken{o, err}
			}()
			taker, err := a.Offer(wire.Offer{Program: "batond 1", Sections: c.tags})
			took := <-got
			if taker != "batond 2" || took.o.Program != "batond 1" || len(took.o.Sections) != len(c.tags) {
				t.Errorf("giver hears of %q, taker of %+v", taker, took.o)
			}
			var refused *wire.RefusedError
			switch {
			case c.want == "" && (err != nil || took.err != nil):
				t.Errorf("giver: %v, taker: %v", err, took.err)
			case c.want != "" && (!errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) || took.err == nil || !strings.Contains(took.err.Error(), c.want)):
				t.Errorf("giver: %v, taker: %v; want %q", err, took.err, c.want)
			}
		})
	}
	if !wire.Takes(tag(1, 2, false), knows) || wire.Takes(tag(9, 1, false), knows) || wire.Takes(tag(1, 4, true), knows) {
		t.Error("what is skipped")
	}
}

// A taker of another format, or that is none, is no taker.
func TestOffer_otherFormat(t *testing.T) {
	a, b := pair(t)
	done := make(chan error, 1)
	go func() {
		_, err := b.Accept("batond", nil)
		done <- err
	}()
	err := a.Send(wire.Section{Tag: wire.Tag{Kind: 0xff01, Version: 1}, Payload: []byte(`{"format":2,"program":"batond 9"}`)})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := a.Receive(); err != nil || !strings.Contains(string(s.Payload), "format 2, and 1 is known") {
		t.Errorf("%s, %v", s.Payload, err)
	}
	if err := <-done; err == nil {
		t.Error("taken")
	}
	a, b = pair(t)
	go b.Send(wire.Section{Tag: wire.Tag{Kind: 3}, Payload: []byte("x")})
	if _, err := a.Offer(wire.Offer{}); !errors.Is(err, wire.ErrFormat) {
		t.Errorf("no answer: %v", err)
	}
	a, b = pair(t)
	b.Close()
	if _, err := a.Offer(wire.Offer{}); err == nil {
		t.Error("nobody: no error")
	}
}

func TestNewConn(t *testing.T) {
	fds := sockets(t, unix.SOCK_STREAM)
	defer unix.Close(fds[1])
	f := os.NewFile(uintptr(fds[0]), "")
	defer f.Close()
	n, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := wire.NewConn(n.(*net.UnixConn)); err == nil {
		t.Error("a stream was taken")
	}
}

// Whatever comes, in frames of any cut, is a section or an error.
func FuzzReceive(f *testing.F) {
	f.Add(first(1, 0, 3, "abc"), uint8(0))
	f.Add(append(first(0, 2, 6, "abc"), "\x02def"...), uint8(15))
	f.Add(first(0, 1, 1<<31, ""), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		if len(b) == 0 || len(b) > 60<<10 {
			return
		}
		fd, conn := raw(t)
		before := numFDs(t)
		at := min(int(cut), len(b)-1)
		for _, part := range [][]byte{b[:at], b[at:]} {
			if len(part) == 0 {
				continue
			}
			one := numbered(t, 1)
			err := unix.Sendmsg(fd, part, unix.UnixRights(one), nil, 0)
			unix.Close(one)
			if err != nil {
				t.Fatal(err)
			}
		}
		unix.Close(fd)
		s, err := conn.Receive()
		if err == nil && len(s.Payload) > len(b) {
			t.Errorf("%d bytes of %d", len(s.Payload), len(b))
		}
		s.Close()
		conn.Close() // what was not read goes with it
		if after := numFDs(t); after != before-2 {
			t.Errorf("%d descriptors were open, and %d are", before-2, after)
		}
	})
}
