package proto_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"baton/vhost/proto"
)

// TestCloseIdle checks that Close ends a session that waits for a message.
func TestCloseIdle(t *testing.T) {
	p := newPeer(t, newRecorder())
	p.sync()
	p.session.Close()
	p.wantEnd(proto.ErrClosed)
	p.session.Close() // again does nothing
	if err := p.conn.Read(&p.msg, nil); err != io.EOF {
		t.Errorf("front end reads %v, want EOF", err)
	}
}

// TestSlowPeer is item 40: half a message holds up nobody. Close does not wait
// for the other half, Detach does and gives up in time.
func TestSlowPeer(t *testing.T) {
	msg := append(proto.AppendHeader(nil, proto.Header{Request: proto.SetFeatures, Flags: 1, Size: 8}), u64(0)...)
	for _, at := range []int{1, proto.HeaderSize, proto.HeaderSize + 7} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			other := newPeer(t, newRecorder())
			p := newPeer(t, newRecorder())
			p.raw(msg[:at], 1)
			p.wasRead()
			other.sync()
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			if _, _, err := p.session.Detach(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("detach inside a message: %v", err)
			}
			p.session.Close()
			p.wantEnd(proto.ErrClosed)
			p.wantCalls("Disconnected")
		})
	}
}

// TestDetachRefusedGoesOn checks that a session from which Detach got nothing
// serves on.
func TestDetachRefusedGoesOn(t *testing.T) {
	p := newPeer(t, newRecorder())
	msg := append(proto.AppendHeader(nil, proto.Header{Request: proto.SetFeatures, Flags: 1, Size: 8}), u64(0)...)
	p.raw(msg[:14], 0)
	p.wasRead()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := p.session.Detach(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	p.raw(msg[14:], 0)
	p.sync()
	p.wantCalls("SetFeatures 0x0")
}

// TestStuckReader is a front end that asks and never reads: its session stops in
// a write, and Close ends it all the same.
func TestStuckReader(t *testing.T) {
	p := newPeer(t, newRecorder())
	get := proto.AppendHeader(nil, proto.Header{Request: proto.GetFeatures, Flags: 1})
	p.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	for p.conn.WriteRaw(get) == nil {
	}
	p.session.Close()
	p.wantEnd(proto.ErrClosed)
}

// TestDetach hands a connection from one session to the next, with messages
// unread in the socket and with a peer that sends meanwhile; none is lost or
// doubled, and no device is told of an end.
func TestDetach(t *testing.T) {
	dev := newRecorder()
	p := newPeer(t, dev)
	p.negotiate(proto.ProtocolReplyAck)
	const num = 200
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range uint32(num) {
			msg := proto.AppendHeader(nil, proto.Header{Request: proto.SetVringBase, Flags: 1, Size: 8})
			if err := p.conn.WriteRaw(append(msg, vring(1, i)...)); err != nil {
				t.Error(err)
			}
		}
	}()
	var calls []string
	for range 20 {
		fd, st, err := p.session.Detach(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if st.ProtocolFeatures != proto.ProtocolReplyAck {
			t.Errorf("state %+v", st)
		}
		if !errors.Is(p.session.Err(), proto.ErrDetached) {
			t.Errorf("ended: %v", p.session.Err())
		}
		if _, _, err := p.session.Detach(context.Background()); err == nil {
			t.Error("the connection was given twice")
		}
		calls = append(calls, dev.take()...)
		if n := dev.disconnects(); n != 0 {
			t.Fatalf("device was told %d times", n)
		}
		dev = newRecorder()
		p.dev = dev
		if p.session, err = proto.NewSessionFromFD(fd, st, dev, nil); err != nil {
			t.Fatal(err)
		}
	}
	<-sent
	p.wantAck(proto.SetVringEnable, vring(0, 1), 0, 0) // REPLY_ACK is still on
	calls = append(calls, dev.take()...)
	if len(calls) != num+1 {
		t.Fatalf("%d calls, want %d", len(calls), num+1)
	}
	for i, c := range calls[:num] {
		if want := fmt.Sprintf("SetVringBase 1 %d", i); c != want {
			t.Fatalf("call %d is %q, want %q", i, c, want)
		}
	}
	p.conn.Close()
	p.wantEnd(io.EOF)
}
