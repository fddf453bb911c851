package proto_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"baton/vhost/proto"
)

// refusal is a well-formed message that must have no effect.
type refusal struct {
	name    string
	req     proto.Request
	payload []byte
	fds     int
	soft    bool // without an acknowledgement the session goes on
}

// refusals has the hostile socket inputs that leave the stream in step. The
// device must not be called for any of them.
func refusals() []refusal {
	return []refusal{
		{name: "25 short payload", req: proto.SetVringNum, payload: []byte{1, 2, 3}},
		{name: "25 no payload", req: proto.SetMemTable, fds: 1},
		{name: "25 long payload", req: proto.SetFeatures, payload: make([]byte, 16)},
		{name: "25 longest payload", req: proto.SetVringAddr, payload: make([]byte, proto.MaxPayload)},
		{name: "25 soft", req: proto.NetSetMTU, payload: make([]byte, 7), soft: true},
		{name: "26 table shorter than its number says", req: proto.SetMemTable, payload: table(2)[:40], fds: 2},
		{name: "26 table longer than its number says", req: proto.SetMemTable, payload: append(table(1), make([]byte, 32)...), fds: 1},
		{name: "28 no descriptor for a region", req: proto.SetMemTable, payload: table(2), fds: 1},
		{name: "28 more descriptors than regions", req: proto.SetMemTable, payload: table(2), fds: 3},
		{name: "28 unexpected descriptors", req: proto.SetVringNum, payload: vring(0, 256), fds: 8},
		{name: "28 no kick and no mask", req: proto.SetVringKick, payload: u64(0)},
		{name: "28 two kicks", req: proto.SetVringKick, payload: u64(0), fds: 2},
		{name: "28 call and mask", req: proto.SetVringCall, payload: u64(proto.VringNoFD), fds: 1},
		{name: "28 err without", req: proto.SetVringErr, payload: u64(0), soft: true},
		{name: "28 region without", req: proto.AddMemReg, payload: region(0, 4096)},
		{name: "29 no regions", req: proto.SetMemTable, payload: append(make([]byte, 8), make([]byte, 32)...), fds: 1},
		{name: "29 nine regions", req: proto.SetMemTable, payload: append(proto.AppendVringState(nil, proto.VringState{Index: 9}), table(8)[8:]...), fds: 8},
		{name: "31 ring too high", req: proto.SetVringNum, payload: vring(recorderRings, 256)},
		{name: "31 ring in the high half", req: proto.SetVringNum, payload: vring(1<<16, 256)},
		{name: "31 address", req: proto.SetVringAddr, payload: vringAddr(1<<31, 0)},
		{name: "31 base", req: proto.SetVringBase, payload: vring(1<<16|1, 0)},
		{name: "31 enable", req: proto.SetVringEnable, payload: vring(0xffffffff, 1)},
		{name: "31 kick above the mask", req: proto.SetVringKick, payload: u64(1 << 32), fds: 1},
		{name: "31 kick", req: proto.SetVringKick, payload: u64(recorderRings), fds: 1},
		{name: "enable 2", req: proto.SetVringEnable, payload: vring(0, 2)},
		{name: "39 features never offered", req: proto.SetFeatures, payload: u64(proto.FeatureRingPacked)},
		{name: "39 protocol features never offered", req: proto.SetProtocolFeatures, payload: u64(1 << 63)},
		{name: "43 status", req: proto.SetStatus, payload: u64(256), soft: true},
		{name: "MTU", req: proto.NetSetMTU, payload: u64(1 << 16), soft: true},
	}
}

// TestRefusedWithAck checks that each refusal is told by the acknowledgement, and
// that the session goes on.
func TestRefusedWithAck(t *testing.T) {
	for _, tc := range refusals() {
		t.Run(tc.name, func(t *testing.T) {
			p := newPeer(t, newRecorder())
			p.negotiate(proto.ProtocolReplyAck)
			p.wantAck(tc.req, tc.payload, tc.fds, 1)
			p.sync()
			p.wantCalls()
			if n := p.session.Counts().Refused; n != 1 {
				t.Errorf("%d refusals counted", n)
			}
		})
	}
}

// TestRefusedWithoutAck checks that a refusal that cannot be told ends the
// session where the front end must not go on, and only there.
func TestRefusedWithoutAck(t *testing.T) {
	for _, tc := range refusals() {
		t.Run(tc.name, func(t *testing.T) {
			p := newPeer(t, newRecorder())
			// NEED_REPLY means nothing while REPLY_ACK is not negotiated.
			p.send(tc.req, proto.FlagVersion|proto.FlagNeedReply, tc.payload, tc.fds)
			if tc.soft {
				p.sync()
				p.wantCalls()
				return
			}
			if err := p.conn.Read(&p.msg, nil); err == nil {
				t.Fatalf("answered by %v", p.msg.Request)
			}
			<-p.session.Done()
			if p.session.Err() == io.EOF || p.dev.disconnects() != 1 {
				t.Errorf("session ended: %v", p.session.Err())
			}
			p.wantCalls("Disconnected")
		})
	}
}

// TestDeviceRefuses checks that the device's error reaches the front end for
// every message that can be acknowledged.
func TestDeviceRefuses(t *testing.T) {
	dev := newRecorder()
	for _, m := range []string{"SetMemTable", "AddMemRegion", "RemMemRegion", "SetVringNum", "SetVringAddr",
		"SetVringBase", "SetVringKick", "SetVringCall", "SetVringErr", "SetVringEnable", "SetMTU", "SendRARP",
		"SetBackendReqFD", "SetStatus", "SetLogFD", "SetFeatures", "SetOwner", "Reset"} {
		dev.fail[m] = errors.New("no")
	}
	p := newPeer(t, dev)
	p.negotiate(proto.ProtocolReplyAck)
	for _, s := range []step{
		{req: proto.SetMemTable, payload: table(8), fds: 8}, {req: proto.AddMemReg, payload: region(0, 4096), fds: 1},
		{req: proto.RemMemReg, payload: region(0, 4096), fds: 1}, {req: proto.SetVringNum, payload: vring(0, 3)},
		{req: proto.SetVringAddr, payload: vringAddr(0, 0)}, {req: proto.SetVringBase, payload: vring(0, 1)},
		{req: proto.SetVringKick, payload: u64(0), fds: 1}, {req: proto.SetVringCall, payload: u64(0), fds: 1},
		{req: proto.SetVringErr, payload: u64(0), fds: 1}, {req: proto.SetVringEnable, payload: vring(0, 1)},
		{req: proto.NetSetMTU, payload: u64(9)}, {req: proto.SendRARP, payload: u64(9)},
		{req: proto.SetBackendReqFD, fds: 1}, {req: proto.SetStatus, payload: u64(1)}, {req: proto.SetLogFD, fds: 1},
		{req: proto.SetFeatures, payload: u64(0)}, {req: proto.SetOwner}, {req: proto.ResetDevice},
	} {
		p.wantAck(s.req, s.payload, s.fds, 1)
	}
}

// TestFraming checks that what breaks the stream ends the session.
func TestFraming(t *testing.T) {
	header := func(flags, size uint32) []byte {
		return proto.AppendHeader(nil, proto.Header{Request: proto.SetOwner, Flags: flags, Size: size})
	}
	for name, tc := range map[string]struct {
		raw  []byte
		fds  int
		want error
	}{
		"version 0":          {header(0, 0), 0, proto.ErrVersion},
		"version 2":          {header(2, 0), 8, proto.ErrVersion},
		"reply":              {header(5, 0), 1, proto.ErrNotRequest},
		"25 size":            {header(1, proto.MaxPayload+1), 1, proto.ErrTooLong},
		"25 largest size":    {header(1, 0xffffffff), 0, proto.ErrTooLong},
		"28 nine":            {header(1, 0), 9, proto.ErrTooManyFDs},
		"28 two hundred":     {header(1, 0), 200, proto.ErrTooManyFDs},
		"26 payload missing": {header(1, 8), 2, proto.ErrPartial},
		"half a header":      {header(1, 8)[:5], 2, proto.ErrPartial},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, newRecorder())
			p.raw(tc.raw, tc.fds)
			if tc.want == proto.ErrPartial {
				p.conn.Close()
			}
			p.wantEnd(tc.want)
			p.wantCalls("Disconnected")
		})
	}
}

// TestStrayFDs sends descriptors with a later byte of a message: item 28.
func TestStrayFDs(t *testing.T) {
	msg := append(proto.AppendHeader(nil, proto.Header{Request: proto.SetFeatures, Flags: 1, Size: 8}), u64(0)...)
	for _, at := range []int{1, proto.HeaderSize, proto.HeaderSize + 4} {
		p := newPeer(t, newRecorder())
		p.raw(msg[:at], 1)
		p.raw(msg[at:], 3)
		p.wantEnd(proto.ErrStrayFDs)
		p.wantCalls("Disconnected")
	}
}

// TestUnknown is item 27: a request that the device does not know, with and
// without NEED_REPLY, with a payload and descriptors, does not end the session.
func TestUnknown(t *testing.T) {
	dev := newRecorder()
	dev.protocol &^= proto.ProtocolConfigureMemSlots
	p := newPeer(t, dev)
	unknown := []proto.Request{0, proto.IOTLBMsg, proto.SetVringEndian, proto.GetConfig, proto.SetConfig,
		proto.CreateCryptoSession, proto.CloseCryptoSession, proto.PostcopyAdvise, proto.GetInflightFD,
		proto.SetInflightFD, proto.VringKick, proto.GetSharedObject, proto.SetDeviceStateFD, proto.GetShmemConfig,
		proto.GetVringBaseSkipping, 46, 1000, 0xffffffff, proto.GetMaxMemSlots, proto.AddMemReg}
	for _, r := range unknown {
		p.send(r, proto.FlagVersion|proto.FlagNeedReply, make([]byte, 100), 8)
	}
	p.sync() // nothing was answered: REPLY_ACK is not negotiated
	p.negotiate(proto.ProtocolReplyAck)
	for _, r := range unknown {
		p.send(r, proto.FlagVersion, make([]byte, proto.MaxPayload), 1)
		p.wantAck(r, make([]byte, 100), 8, 1)
	}
	p.wantCalls()
	if n := p.session.Counts().Unknown; n != uint64(3*len(unknown)) {
		t.Errorf("%d counted, want %d", n, 3*len(unknown))
	}
}

// TestQuirks has what real front ends do and the session must let pass.
func TestQuirks(t *testing.T) {
	p := newPeer(t, newRecorder())
	p.negotiate(proto.ProtocolReplyAck)
	steps := []struct {
		step
		want string
	}{
		{step{req: proto.SetVringEnable, payload: vring(3, 1)}, "SetVringEnable 3 true"}, // 36: before the ring exists
		{step{req: proto.SetVringKick, payload: u64(2 | proto.VringNoFD)}, "SetVringKick 2 nofd"},
		{step{req: proto.SetVringCall, payload: u64(proto.VringNoFD)}, "SetVringCall 0 nofd"},
		{step{req: proto.SetFeatures, payload: u64(0)}, "SetFeatures 0x0"}, // 39
		{step{req: proto.SetFeatures, payload: u64(proto.FeatureVersion1)}, "SetFeatures 0x100000000"},
		{step{req: proto.RemMemReg, payload: region(16, 32)}, "RemMemRegion 0x10+0x20 nofd"},
		{step{req: proto.RemMemReg, payload: region(16, 32), fds: 1}, "RemMemRegion 0x10+0x20 nofd"},
		{step{req: proto.ResetDevice}, "Reset"},
		{step{req: proto.SetVringNum, payload: vring(0, 0)}, "SetVringNum 0 0"}, // 32: the device's to judge
	}
	for _, s := range steps {
		p.wantAck(s.req, s.payload, s.fds, 0)
		p.wantCalls(s.want)
	}
	p.wantAck(proto.ResetOwner, nil, 0, 0) // the device keeps all that it knows
	p.wantCalls()
	p.wantAck(proto.SetStatus, u64(0), 0, 0) // 43
	p.wantCalls("SetStatus 0")
	// 35: a ring that was never made has a base too; the number that comes along is
	// nothing. NEED_REPLY does not double the answer.
	p.send(proto.GetVringBase, proto.FlagVersion|proto.FlagNeedReply, vring(3, 0xdeadbeef), 0)
	if v, err := proto.DecodeVringState(p.read().Payload); err != nil || v != (proto.VringState{Index: 3, Num: 1003}) {
		t.Errorf("base %v, %v", v, err)
	}
	p.sync()
}

// TestNativeRefused checks that a request whose answer cannot be given ends the
// session: the front end would wait for ever.
func TestNativeRefused(t *testing.T) {
	for name, tc := range map[string]step{
		"31 base of no ring":       {req: proto.GetVringBase, payload: vring(recorderRings, 0)},
		"25 base without a number": {req: proto.GetVringBase},
		"37 log":                   {req: proto.SetLogBase, payload: proto.AppendLog(nil, 1, 1), fds: 1},
		"37 log without file":      {req: proto.SetLogBase, payload: proto.AppendLog(nil, 1, 1)},
		"28 features with file":    {req: proto.GetFeatures, fds: 1},
	} {
		t.Run(name, func(t *testing.T) {
			dev := newRecorder()
			dev.fail["SetLogBase"] = errors.New("no")
			p := newPeer(t, dev)
			p.negotiate(proto.ProtocolReplyAck)
			p.send(tc.req, proto.FlagVersion|proto.FlagNeedReply, tc.payload, tc.fds)
			<-p.session.Done()
			if p.session.Err() == nil || dev.disconnects() != 1 {
				t.Errorf("ended: %v, told %d times", p.session.Err(), dev.disconnects())
			}
		})
	}
}

// TestCloexec checks that descriptors do not leak into children.
func TestCloexec(t *testing.T) {
	p := newPeer(t, newRecorder())
	p.send(proto.SetVringKick, proto.FlagVersion, u64(0), 1)
	p.sync()
	p.dev.mu.Lock()
	defer p.dev.mu.Unlock()
	flags, err := unix.FcntlInt(uintptr(p.dev.fds[0]), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
}

// TestRequestNames checks that every row of the table has a specification's name.
func TestRequestNames(t *testing.T) {
	seen := map[string]bool{}
	for r := proto.Request(1); r < 46; r++ {
		if s := r.String(); seen[s] || s == fmt.Sprintf("request %d", r) {
			t.Errorf("request %d is called %q", r, s)
		} else {
			seen[s] = true
		}
	}
	if s := proto.Request(46).String(); s != "request 46" {
		t.Errorf("unknown request is called %q", s)
	}
}
