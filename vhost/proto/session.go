package proto

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"baton/vhost/peerfd"
)

// Times and amounts that a session keeps to.
const (
	// writeTimeout is how long a peer may leave a reply unread when its socket
	// buffer is full. QEMU reads each reply before it goes on; a minute is for a
	// host that swaps.
	writeTimeout = time.Minute
	// loggedRefusals is how many refused messages a session logs; the others are
	// only counted. A connector bounds the lines of all its sessions.
	loggedRefusals = 16
)

// Reasons for which a session ends, beside those of Conn.Read.
var (
	ErrClosed   = errors.New("closed by us")
	ErrDetached = errors.New("handed over")
)

// State is what a session knows beside its socket and its device: all that the
// process which takes over a connection needs to go on with the next message.
type State struct {
	ProtocolFeatures uint64 // as acknowledged by the front end
}

// Counts are a session's counters.
type Counts struct {
	Messages uint64 // messages read
	Refused  uint64 // known messages that were refused
	Unknown  uint64 // messages that the device does not know
}

// Session serves one front end: it reads messages, calls the device and answers.
// It runs in a goroutine of its own and touches nothing that another session or
// a worker waits for; a peer that is slow or stuck stops only its own session.
//
//	conc: all methods from any goroutine except the device's methods
type Session struct {
	conn    *Conn
	backend Backend
	log     hclog.Logger
	done    chan struct{}
	err     error         // why it ended; written before done is closed
	state   State         // the session goroutine's
	late    []peerfd.Late // what the peer holds up; the session goroutine's before done

	reply [sizeLog]byte // space for a reply's payload

	messages, refused, unknown atomic.Uint64
	// refusals are refused and unknown by request; the last one is of all without a name.
	refusals [numRequests + 1]atomic.Uint64

	mu   sync.Mutex // guards stop and orders it with the deadlines
	stop stopKind
}

// stopKind is what somebody asked of a running session.
type stopKind uint8

const (
	stopNone   stopKind = iota
	stopClose           // end, and close the connection
	stopDetach          // end at a message boundary, and keep the connection
	stopped             // has ended
)

// NewSession starts to serve the front end at the other end of conn with
// backend. The session owns conn. When it ends, except by Detach, it calls
// backend.Disconnected once. A nil log is silent.
func NewSession(conn *Conn, st State, backend Backend, log hclog.Logger) *Session {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	s := &Session{conn: conn, backend: backend, log: log, state: st, done: make(chan struct{})}
	go s.run()
	return s
}

// NewSessionFromFD goes on with a connection that another session, perhaps of
// another process, gave up by Detach. The device must be in the state that the
// other session's device was in. fd belongs to the session from now on, also
// when it returns an error.
//
//	error: fd is not a connected Unix stream socket
func NewSessionFromFD(fd int, st State, backend Backend, log hclog.Logger) (*Session, error) {
	conn, err := NewConnFromFD(fd)
	if err != nil {
		return nil, err
	}
	return NewSession(conn, st, backend, log), nil
}

// Done is closed when the session has ended and the device knows it.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why the session ended: io.EOF (the front end closed the connection),
// ErrClosed, ErrDetached, or what the front end did wrong. It is nil before Done.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Counts are the counters so far.
func (s *Session) Counts() Counts {
	return Counts{Messages: s.messages.Load(), Refused: s.refused.Load(), Unknown: s.unknown.Load()}
}

// addRefusals adds what was refused to counts by the requests' names.
func (s *Session) addRefusals(counts map[string]uint64) {
	for i := range s.refusals {
		if n := s.refusals[i].Load(); n > 0 {
			name := "unknown request"
			if i < numRequests {
				name = Request(i).String()
			}
			counts[name] += n
		}
	}
}

// Close ends the session after the message that it works on, closes the
// connection, and returns when the device knows. A message that has not come
// whole is given up.
func (s *Session) Close() {
	s.mu.Lock()
	if s.stop != stopped {
		s.stop = stopClose
		// A session that waits for the peer wakes up by deadlines in the past. They
		// cannot fail on an open socket, and a closed one needs none.
		past := time.Unix(1, 0)
		s.conn.SetReadDeadline(past)
		s.conn.SetWriteDeadline(past)
	}
	s.mu.Unlock()
	<-s.done
}

// Detach ends the session at the next message boundary and gives up its socket,
// which stays connected; messages that were not read stay in it. The device is
// not told. The caller owns fd.
//
// A front end that has sent half a message keeps the session from a boundary:
// when ctx ends first, the session goes on as if nothing had been asked.
//
//	error: ctx's, or no descriptor free: the session goes on; or why it ended before
func (s *Session) Detach(ctx context.Context) (fd int, st State, err error) {
	// The duplicate is made first: afterwards nothing can fail.
	if fd, err = s.conn.DupFD(); err != nil {
		return -1, State{}, fmt.Errorf("detach: %w", err)
	}
	if err := s.detach(ctx); err != nil {
		closeFD(fd)
		return -1, State{}, fmt.Errorf("detach: %w", err)
	}
	return fd, s.state, nil
}

// detach stops the session for the caller who is to own its connection.
func (s *Session) detach(ctx context.Context) error {
	s.mu.Lock()
	mine := s.stop == stopNone
	if mine {
		s.stop = stopDetach
		s.conn.SetReadDeadline(time.Unix(1, 0))
	}
	s.mu.Unlock()
	if !mine {
		return errors.New("session is already about to end")
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		if s.cancelDetach() {
			return fmt.Errorf("front end is in the middle of a message: %w", ctx.Err())
		}
		<-s.done
	}
	if !errors.Is(s.err, ErrDetached) {
		return fmt.Errorf("session ended: %w", s.err)
	}
	return nil
}

func (s *Session) cancelDetach() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != stopDetach {
		return false
	}
	s.stop = stopNone
	s.conn.SetReadDeadline(time.Time{})
	return true
}

// run is the session's goroutine.
func (s *Session) run() {
	defer close(s.done)
	var m Message
	for s.err == nil {
		if s.err = s.boundary(); s.err != nil {
			break
		}
		err := s.conn.Read(&m, s.goOn)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue // boundary knows why
		case err != nil:
			s.err = err
		default:
			s.messages.Add(1)
			s.err = s.serve(&m)
			m.CloseFDs()
			if s.err == nil {
				s.conn.tell(false)
			}
		}
		if m.late.Pending() {
			s.late = append(s.late, m.late)
			s.err = errors.Join(s.err, ErrHeldUp)
		}
	}
	if errors.Is(s.err, ErrDetached) {
		s.conn.Close() // the connection lives on in Detach's duplicate
		return
	}
	s.mu.Lock()
	if s.stop == stopClose && !errors.Is(s.err, io.EOF) {
		s.err = ErrClosed
	}
	s.stop = stopped
	s.mu.Unlock()
	if n := s.refused.Load() + s.unknown.Load(); n > loggedRefusals {
		s.log.Warn("more vhost-user messages were refused than logged", "refused", s.refused.Load(), "unknown", s.unknown.Load())
	}
	s.late = append(s.late, s.conn.hangUp())
	s.backend.Disconnected()
	s.conn.tell(false)
}

// settle waits until all is closed that the peer had sent, or ctx ends: a peer that holds
// it up gets no other session meanwhile. The session has ended.
func (s *Session) settle(ctx context.Context) {
	for _, late := range s.late {
		if late == nil {
			continue
		}
		select {
		case <-late:
		case <-ctx.Done():
			return
		}
	}
}

// boundary is called between two messages: the only place where a session ends
// by our own wish.
func (s *Session) boundary() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.stop {
	case stopClose:
		return ErrClosed
	case stopDetach:
		s.stop = stopped
		return ErrDetached
	}
	return s.conn.SetReadDeadline(time.Time{})
}

// goOn is asked when a read deadline passes inside a message: only Close gives
// the message up.
func (s *Session) goOn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == stopClose {
		return false
	}
	return s.conn.SetReadDeadline(time.Time{}) == nil
}

// serve handles one message. An error ends the session.
func (s *Session) serve(m *Message) error {
	if m.Flags&FlagReply != 0 {
		return fmt.Errorf("%s: %w", m.Request, ErrNotRequest)
	}
	row := lookup(m.Request, s.backend.ProtocolFeatures())
	if row == nil {
		s.unknown.Add(1)
		s.refusals[min(m.Request, numRequests)].Add(1)
		s.logRefusal("vhost-user message ignored: this device does not know it", m.Request, nil)
		return s.acknowledge(m, false)
	}
	reply, err := s.dispatch(row, m)
	if err != nil {
		return s.refuse(row, m, err)
	}
	if row.native {
		return s.write(m.Request, reply)
	}
	return s.acknowledge(m, true)
}

// dispatch checks a message against its row and calls its handler.
func (s *Session) dispatch(row *spec, m *Message) ([]byte, error) {
	if n := len(m.Payload); n < row.sizes[0] || n > row.sizes[1] {
		return nil, fmt.Errorf("%w: %d bytes, not %d to %d", ErrPayload, n, row.sizes[0], row.sizes[1])
	}
	if n := len(m.FDs); n < row.fds[0] || n > row.fds[1] {
		return nil, fmt.Errorf("%w: %d, not %d to %d", ErrFDs, n, row.fds[0], row.fds[1])
	}
	for _, fd := range m.FDs {
		if err := expected(row, fd); err != nil {
			return nil, err
		}
	}
	return row.handle(s, m)
}

// expected refuses a descriptor that no front end has reason to send, before anybody does
// anything with it: a peer could hold up whoever closes it.
func expected(row *spec, fd int) error {
	if peerfd.Prompt(fd) {
		return nil
	}
	if is, _ := peerfd.IsUnixSocket(fd); is && row.request == SetBackendReqFD {
		return nil
	}
	name, err := peerfd.Name(fd)
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrFDKind, err)
	}
	return fmt.Errorf("%w: got %q", ErrFDKind, name)
}

// refuse tells the front end that a message had no effect, or ends the session
// where it cannot be told and must know.
func (s *Session) refuse(row *spec, m *Message, why error) error {
	s.refused.Add(1)
	s.refusals[m.Request].Add(1)
	if row.native || (row.fatal && !s.wantsAck(m)) {
		return fmt.Errorf("%s: %w", m.Request, why)
	}
	s.logRefusal("vhost-user message refused", m.Request, why)
	return s.acknowledge(m, false)
}

func (s *Session) logRefusal(msg string, r Request, why error) {
	if s.refused.Load()+s.unknown.Load() > loggedRefusals {
		return
	}
	args := []any{"message", r.String()}
	if why != nil {
		args = append(args, "error", why)
	}
	s.log.Warn(msg, args...)
}

func (s *Session) wantsAck(m *Message) bool {
	return m.Flags&FlagNeedReply != 0 && s.state.ProtocolFeatures&ProtocolReplyAck != 0
}

// acknowledge sends the 64-bit reply-ack if the front end wants one: 0 for
// success, 1 for a refusal.
func (s *Session) acknowledge(m *Message, ok bool) error {
	if !s.wantsAck(m) {
		return nil
	}
	v := uint64(1)
	if ok {
		v = 0
	}
	return s.write(m.Request, s.replyU64(v))
}

func (s *Session) replyU64(v uint64) []byte { return AppendU64(s.reply[:0], v) }

func (s *Session) write(r Request, payload []byte) error {
	s.mu.Lock()
	if s.stop != stopClose {
		s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	s.mu.Unlock()
	if err := s.conn.Write(Header{Request: r, Flags: ReplyFlags}, payload); err != nil {
		return fmt.Errorf("reply to %s: %w", r, err)
	}
	return nil
}
