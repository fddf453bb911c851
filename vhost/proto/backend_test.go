package proto_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/vhost/proto"
)

// recorder is a device that writes down what the session asks of it, and owns
// descriptors as a device does.
type recorder struct {
	mu           sync.Mutex
	calls        []string
	fail         map[string]error // by method
	fds          []int
	offered      uint64
	protocol     uint64
	status       uint8
	disconnected int
	peers        []string
}

var _ proto.Backend = (*recorder)(nil)

const recorderRings = 4

func newRecorder() *recorder {
	return &recorder{
		fail:    map[string]error{},
		offered: proto.FeatureVersion1 | proto.FeatureMrgRxbuf | proto.FeatureMQ | proto.FeatureProtocol | proto.FeatureLogAll,
		protocol: proto.ProtocolMQ | proto.ProtocolLogShmfd | proto.ProtocolRARP | proto.ProtocolReplyAck |
			proto.ProtocolNetMTU | proto.ProtocolBackendReq | proto.ProtocolResetDevice |
			proto.ProtocolConfigureMemSlots | proto.ProtocolStatus,
	}
}

// call records one call and takes its descriptors, which it writes as "fd".
func (r *recorder) call(method string, fds []int, args ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := method
	for _, a := range args {
		line += fmt.Sprintf(" %v", a)
	}
	for _, fd := range fds {
		if fd < 0 {
			line += " nofd"
			continue
		}
		line += " fd"
		r.fds = append(r.fds, fd)
	}
	r.calls = append(r.calls, line)
	return r.fail[method]
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

func (r *recorder) disconnects() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.disconnected
}

func (r *recorder) Connected(peer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.peers = append(r.peers, peer)
}
func (r *recorder) NumRings() int            { return recorderRings }
func (r *recorder) NumQueuePairs() int       { return recorderRings / 2 }
func (r *recorder) Features() uint64         { return r.offered }
func (r *recorder) ProtocolFeatures() uint64 { return r.protocol }
func (r *recorder) MaxMemSlots() int         { return 32 }
func (r *recorder) Status() uint8            { return r.status }

func (r *recorder) SetFeatures(f uint64) error {
	return r.call("SetFeatures", nil, fmt.Sprintf("%#x", f))
}
func (r *recorder) SetProtocolFeatures(f uint64) error {
	return r.call("SetProtocolFeatures", nil, fmt.Sprintf("%#x", f))
}
func (r *recorder) SetOwner() error { return r.call("SetOwner", nil) }
func (r *recorder) Reset() error    { return r.call("Reset", nil) }
func (r *recorder) SetMemTable(regions []proto.MemRegion) error {
	var fds []int
	for _, m := range regions {
		fds = append(fds, m.FD)
	}
	return r.call("SetMemTable", fds, len(regions))
}
func (r *recorder) AddMemRegion(m proto.MemRegion) error {
	return r.call("AddMemRegion", []int{m.FD}, fmt.Sprintf("%#x+%#x", m.GuestAddr, m.Size))
}
func (r *recorder) RemMemRegion(m proto.MemRegion) error {
	return r.call("RemMemRegion", []int{m.FD}, fmt.Sprintf("%#x+%#x", m.GuestAddr, m.Size))
}
func (r *recorder) SetVringNum(ring int, num uint32) error {
	return r.call("SetVringNum", nil, ring, num)
}
func (r *recorder) SetVringAddr(a proto.VringAddr) error {
	return r.call("SetVringAddr", nil, a.Index, a.Flags, fmt.Sprintf("%#x %#x %#x %#x", a.Desc, a.Used, a.Avail, a.Log))
}
func (r *recorder) SetVringBase(ring int, base uint32) error {
	return r.call("SetVringBase", nil, ring, base)
}
func (r *recorder) GetVringBase(ring int) (uint32, error) {
	return 1000 + uint32(ring), r.call("GetVringBase", nil, ring)
}
func (r *recorder) SetVringKick(ring int, fd int) error {
	return r.call("SetVringKick", []int{fd}, ring)
}
func (r *recorder) SetVringCall(ring int, fd int) error {
	return r.call("SetVringCall", []int{fd}, ring)
}
func (r *recorder) SetVringErr(ring int, fd int) error {
	return r.call("SetVringErr", []int{fd}, ring)
}
func (r *recorder) SetVringEnable(ring int, on bool) error {
	return r.call("SetVringEnable", nil, ring, on)
}
func (r *recorder) SetMTU(mtu uint16) error { return r.call("SetMTU", nil, mtu) }
func (r *recorder) SendRARP(mac [6]byte) error {
	return r.call("SendRARP", nil, fmt.Sprintf("%x", mac))
}
func (r *recorder) SetBackendReqFD(fd int) error {
	if err := r.fail["SetBackendReqFD"]; err != nil {
		return err // fd stays the session's
	}
	return r.call("SetBackendReqFD", []int{fd})
}
func (r *recorder) SetStatus(s uint8) error {
	r.status = s
	return r.call("SetStatus", nil, s)
}
func (r *recorder) SetLogBase(size, offset uint64, fd int) error {
	return r.call("SetLogBase", []int{fd}, size, offset)
}
func (r *recorder) SetLogFD(fd int) error { return r.call("SetLogFD", []int{fd}) }

func (r *recorder) Disconnected() {
	r.call("Disconnected", nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disconnected++
	for _, fd := range r.fds {
		unix.Close(fd)
	}
	r.fds = nil
}

// eventually polls until ok holds; it fails the test after ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		tick := time.NewTimer(time.Millisecond)
		<-tick.C
	}
}
