package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"

	"baton/controlplane/openflow"
)

// session is one stream to a controller.
type session struct {
	a      *Agent
	stream openflow.OpenFlowLite_SessionClient
	out    chan *openflow.Message
	work   chan task
	fail   context.CancelCauseFunc
	ctx    context.Context
	heard  atomic.Int64 // when the last message came, nanoseconds of the Unix clock
	bundle openflow.Collector
	xid    uint32 // of the echoes that this side asks for
	steers bool   // the controller takes requests for that
	steer  steering
}

// task is what must happen in the order in which the controller said it.
type task struct {
	msg    *openflow.Message
	bundle openflow.Bundle // of a commit
}

// workQueue bounds commits, barriers and questions that wait. A controller has
// one bundle with its barrier under way and asks few questions.
const workQueue = 64

// runSession connects, says hello and serves the stream until it ends. good
// says that the controller took us.
func (a *Agent) runSession(ctx context.Context, e openflow.Endpoint) (good bool, err error) {
	conn, err := e.Dial(a.cfg.TLS, a.cfg.Insecure)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	ctx, fail := context.WithCancelCause(ctx)
	s := &session{
		a: a, out: make(chan *openflow.Message, 64), work: make(chan task, workQueue), fail: fail, ctx: ctx,
	}
	late := time.AfterFunc(a.cfg.ConnectTimeout, func() { fail(errors.New("no answer within the connect timeout")) })
	var wg sync.WaitGroup
	defer func() {
		late.Stop()
		fail(err)
		wg.Wait()
		if cause := context.Cause(ctx); cause != nil && err != nil {
			err = cause
		}
	}()
	if s.stream, err = openflow.NewOpenFlowLiteClient(conn).Session(ctx); err != nil {
		return false, plain(err)
	}
	reply, err := s.hello()
	if err != nil {
		return false, err
	}
	if !late.Stop() {
		return false, context.Cause(ctx)
	}
	s.steers = reply.Steers
	a.noteStart(e, s, reply)
	wg.Go(s.runSend)
	wg.Go(s.runWork)
	wg.Go(s.runEcho)
	wg.Go(s.runEvents)
	return true, s.runReceive()
}

// plain is err without gRPC's decoration.
func plain(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the controller closed the session")
	}
	if st, ok := status.FromError(err); ok {
		cause, fix := openflow.ConnectionCause(st.Message())
		if fix != "" {
			cause += ": " + fix
		}
		return errors.New(cause)
	}
	return err
}

func (s *session) hello() (*openflow.HelloReply, error) {
	a := s.a
	a.mu.Lock()
	h := &openflow.Hello{
		Versions: openflow.Versions(), Host: a.cfg.Host, Software: a.cfg.Software,
		VtepMac: append([]byte(nil), a.vtep.MAC[:]...), VtepIp: a.vtep.IP, OtherIp: a.otherIP, AtAlternate: a.vtep.Alternate, Mtu: uint32(a.cfg.MTU),
		Digest: openflow.EncodeDigest(a.state.Digest()), Revision: a.revision,
	}
	a.mu.Unlock()
	if err := s.stream.Send(&openflow.Message{Xid: 1, Body: &openflow.Message_Hello{Hello: h}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, plain(err)
	}
	m, err := s.stream.Recv()
	if err != nil {
		return nil, plain(err)
	}
	if e, ok := openflow.AsPeerError(m); ok {
		return nil, e
	}
	reply := m.GetHelloReply()
	if reply == nil {
		return nil, fmt.Errorf("the controller answered the hello with %T", m.Body)
	}
	if _, err := openflow.ChooseVersion([]uint32{reply.Version}); err != nil {
		return nil, fmt.Errorf("the controller %w", err)
	}
	return reply, nil
}

func (a *Agent) noteStart(e openflow.Endpoint, s *session, r *openflow.HelloReply) {
	a.mu.Lock()
	a.status.Controller, a.status.Since, a.status.LastError, a.session = e.String(), time.Now(), "", s
	a.status.Sessions++
	for len(a.packets) > 0 { // of an earlier session
		<-a.packets
	}
	a.mu.Unlock()
	a.log.Info("session with controller", "controller", e.String(), "version", r.Version, "software", r.Software)
	if r.Problem != "" {
		a.log.Warn("this host is not as the network has it", "problem", r.Problem)
	}
}

// send queues a message; it waits while the controller does not read.
func (s *session) send(m *openflow.Message) {
	select {
	case s.out <- m:
	case <-s.ctx.Done():
	}
}

func (s *session) runSend() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case m := <-s.out:
			if err := s.stream.Send(m); err != nil {
				if !errors.Is(err, io.EOF) { // EOF: Recv has the reason
					s.fail(plain(err))
				}
				return
			}
		}
	}
}

// runReceive reads the stream until it ends and says why.
func (s *session) runReceive() error {
	for {
		m, err := s.stream.Recv()
		if err != nil {
			if cause := context.Cause(s.ctx); cause != nil {
				return cause
			}
			return plain(err)
		}
		s.heard.Store(time.Now().UnixNano())
		if err := s.receive(m); err != nil {
			return err
		}
	}
}

// receive answers what needs no order, gathers bundles, and queues the rest.
func (s *session) receive(m *openflow.Message) error {
	switch b := m.Body.(type) {
	case *openflow.Message_EchoRequest:
		s.send(openflow.EchoReply(m))
	case *openflow.Message_EchoReply:
	case *openflow.Message_BundleBegin:
		s.bundle.Begin(b.BundleBegin)
	case *openflow.Message_RuleBatch:
		if err := s.bundle.Add(b.RuleBatch); err != nil {
			s.send(openflow.ErrorMessage(m.Xid, openflow.Error_CODE_BAD_MESSAGE, err))
		}
	case *openflow.Message_BundleCommit:
		done, err := s.bundle.Commit(b.BundleCommit)
		if err != nil {
			s.a.refused(err)
			s.send(openflow.ErrorMessage(m.Xid, openflow.Error_CODE_BAD_MESSAGE, err))
			return nil
		}
		return s.enqueue(task{m, done})
	case *openflow.Message_BarrierRequest, *openflow.Message_DigestRequest,
		*openflow.Message_BucketRequest, *openflow.Message_StatsRequest:
		return s.enqueue(task{msg: m})
	case *openflow.Message_SteerReply:
		s.steer.answered(m.Xid, b.SteerReply)
	case *openflow.Message_Error:
		e, _ := openflow.AsPeerError(m)
		return fmt.Errorf("the controller says: %w", e)
	default:
		s.send(openflow.ErrorMessage(m.Xid, openflow.Error_CODE_BAD_MESSAGE,
			fmt.Errorf("a host does not take a message of kind %T", m.Body)))
	}
	return nil
}

func (s *session) enqueue(t task) error {
	select {
	case s.work <- t:
		return nil
	default:
		return fmt.Errorf("the controller has more than %d requests waiting", workQueue)
	}
}

// runEcho asks for echoes and ends the session when nothing comes any more.
func (s *session) runEcho() {
	s.heard.Store(time.Now().UnixNano())
	tick := time.NewTicker(s.a.cfg.EchoInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		if silent := time.Since(time.Unix(0, s.heard.Load())); silent > s.a.cfg.EchoTimeout {
			s.fail(fmt.Errorf("silent for %v", silent.Round(time.Millisecond)))
			return
		}
		s.xid++
		select {
		case s.out <- openflow.EchoRequest(s.xid):
		default: // the queue is full: what is in it will do as a sign of life
		}
	}
}

// runEvents sends the state of the ports, then their changes and packets.
func (s *session) runEvents() {
	s.a.takePorts() // the list that follows is newer
	for _, p := range s.a.cfg.Target.Ports() {
		s.send(&openflow.Message{Body: &openflow.Message_PortStatus{PortStatus: p}})
	}
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.a.portsChanged:
			for _, p := range s.a.takePorts() {
				s.send(&openflow.Message{Body: &openflow.Message_PortStatus{PortStatus: p}})
			}
		case p := <-s.a.packets:
			s.send(&openflow.Message{Body: &openflow.Message_PacketIn{PacketIn: p}})
		}
	}
}
