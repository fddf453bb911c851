package netdev_test

import (
	"net"
	"os"
	"testing"
	"time"

	"baton/vhost/proto"
	"baton/vhost/virtq/drivertest"

	"golang.org/x/sys/unix"
)

// Operations that are no messages, beside indices into madRequests.
const (
	opScribble = 250 // write into the guest's memory
	opTruncate = 251 // cut its file short, or give it its length back
)

// What may be wrong with a message.
const (
	needReply  = 1 << iota
	badVersion // or a reply
	shortSize  // fewer bytes of payload than the request has
	cutPayload // less than the header says: the rest comes with the next message
	wrongFDs   // as many and of such kinds as the script says
	perturb    // one byte of the payload
)

// fdKind is a kind of descriptor that a message may bring.
type fdKind int

const (
	kindGuest fdKind = iota // the guest's memory
	kindSmall               // a memory file of one page
	kindEvent
	kindPipe
	kindNull
	kindSocket
	kindSparse // a memory file of a terabyte without a page
	kindLog
	numKinds
)

// madRequests are what a front end sends, with the descriptors that belong to it.
var madRequests = []struct {
	req   proto.Request
	kinds []fdKind
}{
	{proto.GetFeatures, nil}, {proto.SetFeatures, nil}, {proto.SetOwner, nil}, {proto.ResetOwner, nil},
	{proto.SetMemTable, []fdKind{kindGuest}}, {proto.SetLogBase, []fdKind{kindLog}}, {proto.SetLogFD, []fdKind{kindEvent}},
	{proto.SetVringNum, nil}, {proto.SetVringAddr, nil}, {proto.SetVringBase, nil}, {proto.GetVringBase, nil},
	{proto.SetVringKick, []fdKind{kindEvent}}, {proto.SetVringCall, []fdKind{kindEvent}}, {proto.SetVringErr, []fdKind{kindEvent}},
	{proto.GetProtocolFeatures, nil}, {proto.SetProtocolFeatures, nil}, {proto.GetQueueNum, nil}, {proto.SetVringEnable, nil},
	{proto.SendRARP, nil}, {proto.NetSetMTU, nil}, {proto.SetBackendReqFD, []fdKind{kindSocket}}, {proto.ResetDevice, nil},
	{proto.GetMaxMemSlots, nil}, {proto.AddMemReg, []fdKind{kindGuest}}, {proto.RemMemReg, nil},
	{proto.SetStatus, nil}, {proto.GetStatus, nil}, {proto.IOTLBMsg, nil}, {proto.Request(77), nil},
}

// madFrontEnd sends messages over a socket pair and reads no answers: they fit into
// the socket's buffer.
type madFrontEnd struct {
	t        *testing.T
	g        *rig
	features uint64
	addrs    [2]proto.VringAddr
	conn     *proto.Conn
	session  *proto.Session
}

func newMadFrontEnd(t *testing.T, g *rig, packed bool) *madFrontEnd {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	g.ok(err)
	var ends [2]*proto.Conn
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		g.ok(err)
		f.Close()
		ends[i], err = proto.NewConn(c.(*net.UnixConn))
		g.ok(err)
	}
	m := &madFrontEnd{t: t, g: g, conn: ends[0], features: modern | proto.FeatureEventIdx | proto.FeatureCsum | proto.FeatureHostTSO4}
	m.addrs = [2]proto.VringAddr{addr(0, g.rx), addr(1, g.tx)}
	if packed {
		m.features |= proto.FeatureRingPacked
		for i, off := range []int{rxRing, txRing} {
			d, a, u := drivertest.NewPacked(g.mem, ringNum, off).UserAddrs()
			m.addrs[i] = proto.VringAddr{Index: uint32(i), Desc: d, Avail: a, Used: u}
		}
	}
	m.session = proto.NewSession(ends[1], proto.State{}, g.dev, nil)
	return m
}

// payload is what belongs to a request for ring i.
func (m *madFrontEnd) payload(r proto.Request, i int) []byte {
	region := m.g.mem.Regions()[0]
	mr := proto.MemRegion{GuestAddr: region.GuestAddr, Size: region.Size, UserAddr: region.UserAddr}
	state := func(num uint32) []byte {
		return proto.AppendVringState(nil, proto.VringState{Index: uint32(i), Num: num})
	}
	switch r {
	case proto.SetFeatures:
		return proto.AppendU64(nil, m.features)
	case proto.SetProtocolFeatures:
		return proto.AppendU64(nil, m.g.dev.ProtocolFeatures())
	case proto.SetMemTable:
		return proto.AppendMemTable(nil, []proto.MemRegion{mr})
	case proto.AddMemReg, proto.RemMemReg:
		mr.GuestAddr, mr.UserAddr = 1<<40, 1<<45
		return proto.AppendMemReg(nil, mr)
	case proto.SetLogBase:
		return proto.AppendLog(nil, logBytes, 0)
	case proto.SetVringNum:
		return state(ringNum)
	case proto.SetVringAddr:
		return proto.AppendVringAddr(nil, m.addrs[i&1])
	case proto.SetVringBase, proto.GetVringBase:
		return state(0)
	case proto.SetVringEnable:
		return state(1)
	case proto.SetVringKick, proto.SetVringCall, proto.SetVringErr:
		return proto.AppendU64(nil, uint64(i))
	case proto.NetSetMTU, proto.SendRARP, proto.SetStatus:
		return proto.AppendU64(nil, uint64(100*i))
	}
	return nil
}

// bringUp is an ordinary start of pair 0, with buffers in its rings.
func (m *madFrontEnd) bringUp() {
	m.g.sendOne(60)
	m.g.offerOne()
	send := func(r proto.Request, i int, kinds ...fdKind) {
		if !m.send(proto.Header{Request: r, Flags: proto.FlagVersion}, m.payload(r, i), kinds) {
			m.t.Fatalf("%v is refused", r)
		}
	}
	send(proto.SetProtocolFeatures, 0)
	send(proto.SetFeatures, 0)
	send(proto.SetMemTable, 0, kindGuest)
	for i := range 2 {
		send(proto.SetVringNum, i)
		send(proto.SetVringBase, i)
		send(proto.SetVringAddr, i)
		send(proto.SetVringKick, i, kindEvent)
		send(proto.SetVringCall, i, kindEvent)
		send(proto.SetVringEnable, i)
	}
}

// step does the script's next operation; false if the session has ended.
func (m *madFrontEnd) step(s *bytesReader) bool {
	op, how, ring := s.next(), s.next(), s.next()
	switch op {
	case opScribble:
		at := (how<<8 | ring) * 8 % (dataOff - 16)
		for i := range 16 {
			m.g.mem.Bytes[at+i] ^= byte(s.next())
		}
		return true
	case opTruncate:
		size := int64(how) << 12
		if how == 0 {
			size = memSize
		}
		// The driver's own mapping is not touched behind the end: see close.
		m.g.ok(unix.Ftruncate(m.g.mem.FD, max(size, dataOff)))
		return true
	}
	row := madRequests[op%len(madRequests)]
	payload, kinds := m.payload(row.req, ring%5), row.kinds
	if how&perturb != 0 && len(payload) > 0 {
		payload[s.next()%len(payload)] ^= byte(s.next())
	}
	if how&shortSize != 0 && len(payload) > 0 {
		payload = payload[:s.next()%len(payload)]
	}
	if how&wrongFDs != 0 {
		kinds = nil
		for range s.next() % 10 {
			kinds = append(kinds, fdKind(s.next()%int(numKinds)))
		}
	}
	h := proto.Header{Request: row.req, Flags: proto.FlagVersion}
	if how&needReply != 0 {
		h.Flags |= proto.FlagNeedReply
	}
	if how&badVersion != 0 {
		h.Flags ^= 5
	}
	if how&cutPayload != 0 {
		h.Size = uint32(len(payload))
		return m.raw(append(proto.AppendHeader(nil, h), payload[:len(payload)/2]...), kinds)
	}
	return m.send(h, payload, kinds)
}

func (m *madFrontEnd) send(h proto.Header, payload []byte, kinds []fdKind) bool {
	h.Size = uint32(len(payload))
	return m.raw(append(proto.AppendHeader(nil, h), payload...), kinds)
}

func (m *madFrontEnd) raw(b []byte, kinds []fdKind) bool {
	fds := make([]int, len(kinds))
	for i, k := range kinds {
		fds[i] = m.open(k)
	}
	m.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	err := m.conn.WriteRaw(b, fds...)
	for _, fd := range fds {
		unix.Close(fd)
	}
	return err == nil
}

// open makes a descriptor of a kind.
func (m *madFrontEnd) open(k fdKind) int {
	mem := func(size int64) (int, error) {
		fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
		m.g.ok(err)
		return fd, unix.Ftruncate(fd, size)
	}
	var fd int
	var err error
	switch k {
	case kindGuest:
		fd = m.g.mem.DupFD(m.t)
	case kindSmall:
		fd, err = mem(4096)
	case kindSparse:
		fd, err = mem(1 << 40)
	case kindLog:
		fd, err = mem(logBytes)
	case kindEvent:
		fd = m.g.eventFD()
	case kindPipe:
		var p [2]int
		err = unix.Pipe2(p[:], unix.O_CLOEXEC)
		unix.Close(p[0])
		fd = p[1]
	case kindNull:
		fd, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	case kindSocket:
		fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	}
	m.g.ok(err)
	return fd
}
