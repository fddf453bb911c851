package ofe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"baton/controlplane/model"
	"baton/controlplane/openflow"
	"baton/dataplane/flow"
)

// session is one stream from a host.
type session struct {
	s      *Server
	h      *host
	hello  *openflow.Hello
	peer   string
	stream openflow.OpenFlowLite_SessionServer
	out    chan *openflow.Message
	ctx    context.Context
	fail   context.CancelCauseFunc
	heard  atomic.Int64 // when the last message came, nanoseconds of the Unix clock
	xid    atomic.Uint32
	served chan struct{}           // closed when the hello was accepted: h and hello are set
	state  model.HostState         // that was reported; runReceive's goroutine only
	former context.CancelCauseFunc // of the last request to steer; runReceive's goroutine only
	steers atomic.Int32            // such requests that wait to be answered

	mu      sync.Mutex
	waiting map[uint32]chan *openflow.Message // by xid: who waits for answers
}

// answersQueue bounds the answers to one question that wait to be read: the
// reader is always faster than the wire.
const answersQueue = 64

// Session serves one host's stream; gRPC calls it.
func (s *Server) Session(stream openflow.OpenFlowLite_SessionServer) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return status.Error(codes.Unavailable, "the controller is stopping")
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()

	ctx, fail := context.WithCancelCause(stream.Context())
	defer fail(nil)
	defer context.AfterFunc(s.ctx, func() { fail(errors.New("the controller is stopping")) })()
	x := &session{
		s: s, stream: stream, ctx: ctx, fail: fail,
		out: make(chan *openflow.Message, 64), waiting: map[uint32]chan *openflow.Message{}, served: make(chan struct{}),
	}
	if p, ok := peer.FromContext(ctx); ok {
		x.peer = p.Addr.String()
	}
	first := make(chan *openflow.Message)
	s.wg.Go(func() { x.runReceive(first) })
	var m *openflow.Message
	select {
	case m = <-first:
	case <-ctx.Done():
		return status.Error(codes.Unavailable, context.Cause(ctx).Error())
	case <-time.After(s.cfg.HelloTimeout):
		return status.Error(codes.DeadlineExceeded, "no hello came")
	}
	if code, err := x.greet(m); err != nil {
		s.log.Warn("host refused", "peer", x.peer, "error", err)
		if stream.Send(openflow.ErrorMessage(m.GetXid(), code, err)) != nil {
			return status.Error(codes.Unavailable, "the stream broke")
		}
		return status.Error(grpcCode(code), err.Error())
	}
	return x.serve()
}

func grpcCode(c openflow.Error_Code) codes.Code {
	switch c {
	case openflow.Error_CODE_UNKNOWN_HOST:
		return codes.NotFound
	case openflow.Error_CODE_FORBIDDEN:
		return codes.PermissionDenied
	case openflow.Error_CODE_BAD_MESSAGE:
		return codes.InvalidArgument
	case openflow.Error_CODE_VERSION:
		return codes.FailedPrecondition
	}
	return codes.Unavailable
}

// greet checks the hello and answers it.
func (x *session) greet(m *openflow.Message) (openflow.Error_Code, error) {
	hello := m.GetHello()
	if hello == nil {
		return openflow.Error_CODE_BAD_MESSAGE, errors.New("the first message is no hello")
	}
	if len(hello.Host) > openflow.MaxNameBytes || len(hello.Software) > openflow.MaxNameBytes || len(hello.VtepMac) != 6 || hello.Mtu > 65535 {
		return openflow.Error_CODE_BAD_MESSAGE, errors.New("the hello has a name of more than 255 bytes, a MAC that is not 6 bytes or an MTU above 65535")
	}
	if flow.MAC(hello.VtepMac).IsMulticast() {
		return openflow.Error_CODE_BAD_MESSAGE, fmt.Errorf("host %q says that its underlay MAC is %v, which is a group's: give its NIC an address of its own", hello.Host, flow.MAC(hello.VtepMac))
	}
	version, err := openflow.ChooseVersion(hello.Versions)
	if err != nil {
		return openflow.Error_CODE_VERSION, fmt.Errorf("host %q %w", hello.Host, err)
	}
	if err := checkCertificate(x.ctx, hello.Host); err != nil {
		return openflow.Error_CODE_FORBIDDEN, err
	}
	h, err := x.s.admit(hello.Host)
	if errors.Is(err, ErrNotReady) {
		return openflow.Error_CODE_INTERNAL, err
	}
	if err != nil {
		return openflow.Error_CODE_UNKNOWN_HOST, err
	}
	x.h, x.hello = h, hello
	reply := &openflow.HelloReply{Version: version, Software: x.s.cfg.Software, EchoMs: uint32(x.s.cfg.EchoInterval.Milliseconds()),
		Problem: x.compare(), Steers: x.s.cfg.Settled != nil}
	if err := x.stream.Send(&openflow.Message{Xid: m.Xid, Body: &openflow.Message_HelloReply{HelloReply: reply}}); err != nil {
		return openflow.Error_CODE_INTERNAL, errors.New("the stream broke")
	}
	return 0, nil
}

// checkCertificate holds a host with a certificate to its name.
func checkCertificate(ctx context.Context, host string) error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	t, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil // a unix socket, or plaintext that the operator asked for
	}
	if len(t.State.PeerCertificates) == 0 {
		return fmt.Errorf("host %q shows no certificate", host)
	}
	cert := t.State.PeerCertificates[0]
	if cert.Subject.CommonName == host || cert.VerifyHostname(host) == nil {
		return nil
	}
	return fmt.Errorf("host %q shows a certificate of %q: give the host a certificate with its own name", host, cert.Subject.CommonName)
}

var errReplaced = errors.New("a newer session was opened with this host's name: if there are two batonds with it, give each the name of a Host of its own")

// serve runs a session that was greeted, until it ends.
func (x *session) serve() error {
	s, h := x.s, x.h
	h.attach(x, errReplaced)
	x.begin()
	close(x.served)
	s.log.Info("host connected", "host", h.name, "peer", x.peer, "software", x.hello.Software)
	s.wg.Go(x.runSend)
	s.wg.Go(x.runEcho)
	s.wg.Go(x.runSync)
	<-x.ctx.Done()
	err := context.Cause(x.ctx)
	if h.detach(x, err) {
		s.status.put(h.name, nil)
	}
	if errors.Is(err, errReplaced) { // ours to see, for it can be two hosts that drive each other out
		s.log.Warn("host disconnected", "host", h.name, "peer", x.peer, "reason", err)
	} else {
		s.log.Info("host disconnected", "host", h.name, "peer", x.peer, "reason", err)
	}
	return status.Error(codes.Unavailable, err.Error())
}

// send queues a message; it waits while the host does not read.
func (x *session) send(m *openflow.Message) error {
	select {
	case x.out <- m:
		return nil
	case <-x.ctx.Done():
		return context.Cause(x.ctx)
	}
}

// runSend ends when the handler has returned, at the latest: then Send fails.
func (x *session) runSend() {
	for {
		select {
		case <-x.ctx.Done():
			return
		case m := <-x.out:
			if err := x.stream.Send(m); err != nil {
				x.fail(errors.New("the stream broke"))
				return
			}
		}
	}
}

func (x *session) runReceive(first chan<- *openflow.Message) {
	for {
		m, err := x.stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the host closed the session")
			} else if st, ok := status.FromError(err); ok {
				err = errors.New(st.Message())
			}
			x.fail(err)
			return
		}
		x.heard.Store(time.Now().UnixNano())
		if first != nil {
			select {
			case first <- m:
			case <-x.ctx.Done():
			}
			first = nil
			select {
			case <-x.served:
			case <-x.ctx.Done():
			}
			continue
		}
		if x.ctx.Err() != nil {
			return
		}
		x.receive(m)
	}
}

func (x *session) receive(m *openflow.Message) {
	switch b := m.Body.(type) {
	case *openflow.Message_EchoRequest:
		select {
		case x.out <- openflow.EchoReply(m):
		default: // the host does not read: it gets its answer when it asks again
		}
	case *openflow.Message_EchoReply:
	case *openflow.Message_Error, *openflow.Message_BarrierReply, *openflow.Message_DigestReply,
		*openflow.Message_BucketReply, *openflow.Message_StatsReply:
		x.mu.Lock()
		c := x.waiting[m.Xid]
		x.mu.Unlock()
		select {
		case c <- m:
		default: // nobody waits, or the host answers more than it was asked
		}
	case *openflow.Message_PacketIn:
		x.h.mu.Lock()
		x.h.count.PacketIns++
		x.h.mu.Unlock()
		if f := x.s.cfg.OnPacketIn; f != nil {
			f(x.h.name, b.PacketIn)
		}
	case *openflow.Message_SteerRequest:
		x.steerRequested(m.Xid, b.SteerRequest)
	case *openflow.Message_PortStatus:
		x.h.notePort(x, b.PortStatus)
	default:
		x.fail(fmt.Errorf("the host sent a message of kind %T, which only controllers send", m.Body))
	}
}

func (x *session) runEcho() {
	tick := time.NewTicker(x.s.cfg.EchoInterval)
	defer tick.Stop()
	for {
		select {
		case <-x.ctx.Done():
			return
		case <-tick.C:
		}
		silent := time.Since(time.Unix(0, x.heard.Load()))
		if silent > x.s.cfg.EchoTimeout {
			x.fail(fmt.Errorf("silent for %v", silent.Round(time.Millisecond)))
			return
		}
		select {
		case x.out <- openflow.EchoRequest(x.xid.Add(1)):
		default: // the host does not read, and will be found silent
		}
	}
}

// expect opens a question: answers with its xid go to the channel until done is called.
func (x *session) expect() (xid uint32, answers <-chan *openflow.Message, done func()) {
	c := make(chan *openflow.Message, answersQueue)
	x.mu.Lock()
	xid = x.xid.Add(1)
	x.waiting[xid] = c
	x.mu.Unlock()
	return xid, c, func() {
		x.mu.Lock()
		delete(x.waiting, xid)
		x.mu.Unlock()
	}
}

// await is the next answer; an Error comes as a *openflow.PeerError.
func (x *session) await(ctx context.Context, answers <-chan *openflow.Message) (*openflow.Message, error) {
	select {
	case m := <-answers:
		if e, ok := openflow.AsPeerError(m); ok {
			return nil, e
		}
		return m, nil
	case <-x.ctx.Done():
		return nil, context.Cause(x.ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// stats asks for statistics and joins the parts of the answer.
func (x *session) stats(ctx context.Context, ask *openflow.StatsRequest) (*openflow.StatsReply, error) {
	ctx, stop := context.WithTimeoutCause(ctx, x.s.cfg.ReplyTimeout, errNoAnswer)
	defer stop()
	xid, answers, done := x.expect()
	defer done()
	if err := x.send(&openflow.Message{Xid: xid, Body: &openflow.Message_StatsRequest{StatsRequest: ask}}); err != nil {
		return nil, err
	}
	all := &openflow.StatsReply{Last: true}
	size := 0
	for {
		m, err := x.await(ctx, answers)
		if err != nil {
			return nil, fmt.Errorf("host %q: statistics: %w", x.h.name, err)
		}
		r := m.GetStatsReply()
		if size += proto.Size(r); size > maxStats {
			return nil, fmt.Errorf("host %q: statistics: more than %d MiB", x.h.name, maxStats>>20)
		}
		all.Rules = append(all.Rules, r.GetRules()...)
		all.Ports = append(all.Ports, r.GetPorts()...)
		all.Drops = append(all.Drops, r.GetDrops()...)
		if r == nil || r.Last {
			return all, nil
		}
	}
}

// maxStats bounds the statistics of one host, bytes: those of a million rules.
const maxStats = 64 << 20

var errNoAnswer = errors.New("no answer in time")

// entriesOf counts what a bundle sets and deletes.
func entriesOf(c *flow.Change, gone []openflow.EntryID) uint64 {
	return uint64(len(c.SetRules) + len(c.SetBindings) + len(c.SetNeighbours) + len(gone))
}
