package proto

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"baton/vhost/loglimit"
)

// Mode says which end of the socket listens.
type Mode uint8

// The modes. In client mode the front end listens, and the connection comes back
// after a restart of either side; in server mode the front end must be told to
// connect again.
const (
	ModeClient Mode = iota
	ModeServer
)

// String is the mode's stable name.
func (m Mode) String() string {
	switch m {
	case ModeClient:
		return "client"
	case ModeServer:
		return "server"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Defaults and bounds of a Connector.
const (
	// DefaultSocketMode lets the owner and the group connect.
	DefaultSocketMode fs.FileMode = 0o660
	// DefaultRetryMin and DefaultRetryMax bound the time between two sessions, and
	// between two attempts to connect or to accept. The first is short against the
	// second that QEMU takes to start; the last keeps hundreds of ports without a VM
	// below 1 % of a core.
	DefaultRetryMin = 50 * time.Millisecond
	DefaultRetryMax = 2 * time.Second
	// loggedLines and loggedEvery bound what a port's front ends may have logged, in all
	// their sessions: so many lines at once, then one in a while.
	loggedLines = 64
	loggedEvery = 10 * time.Second
	// maxPath is the longest socket path: sun_path without its final zero byte.
	maxPath = 107
)

// ErrBusy is wrapped when somebody else listens on a server's socket path.
var ErrBusy = errors.New("another process listens on this socket path: stop it or choose another path")

// Config says where a port's front end is found.
type Config struct {
	Port       string      // the port's name, for logs and errors
	Path       string      // socket path, at most 107 bytes
	Mode       Mode        // client unless said otherwise
	SocketMode fs.FileMode // permission bits of a server's socket; 0 means DefaultSocketMode
	RetryMin   time.Duration
	RetryMax   time.Duration
	Backend    Backend
	Log        hclog.Logger // nil is silent
	// Busy is told, from the session's goroutine, when a message may be taken from the front end
	// next, and when it is answered and what it changed is told to whom it concerns, or there was
	// none: should this process die in between, no other one can go on with the session. nil:
	// nobody asks.
	Busy func(busy bool)
	// Adopted is a connection that another process gave up by Detach; it is served
	// first. Its descriptor belongs to the connector from Start on.
	Adopted *Adopted
}

// Adopted is what Detach gives.
type Adopted struct {
	FD    int
	State State
}

// Connector keeps a port's device connected to its front end, one at a time, for
// as long as its context lasts.
//
//	conc: all methods from any goroutine except the device's methods
type Connector struct {
	cfg    Config
	log    hclog.Logger
	cancel context.CancelFunc
	done   chan struct{}
	listen *listener // nil in client mode

	mu      sync.Mutex        // guards what follows
	session *Session          // nil while not connected
	refused map[string]uint64 // of sessions that have ended
}

// Start begins to connect, or to listen; it does not wait for a front end. The
// connector ends when ctx does, or by Close.
//
//	error: the path or the socket mode is impossible; in server mode also ErrBusy and
//	       what the file system says. Names port and path.
func Start(ctx context.Context, cfg Config) (*Connector, error) {
	c, err := newConnector(cfg)
	if err != nil {
		if cfg.Adopted != nil {
			closeFD(cfg.Adopted.FD)
		}
		return nil, fmt.Errorf("vhost %s: socket %s: %w", cfg.Port, cfg.Path, err)
	}
	ctx, c.cancel = context.WithCancel(ctx)
	go c.runConnector(ctx)
	return c, nil
}

func newConnector(cfg Config) (*Connector, error) {
	if cfg.RetryMin <= 0 {
		cfg.RetryMin = DefaultRetryMin
	}
	if cfg.RetryMax < cfg.RetryMin {
		cfg.RetryMax = max(DefaultRetryMax, cfg.RetryMin)
	}
	if cfg.SocketMode == 0 {
		cfg.SocketMode = DefaultSocketMode
	}
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	switch {
	case cfg.Path == "":
		return nil, errors.New("no path is given")
	case len(cfg.Path) > maxPath:
		return nil, fmt.Errorf("the path has %d bytes, the kernel takes %d: choose a shorter one", len(cfg.Path), maxPath)
	case cfg.SocketMode&^fs.ModePerm != 0:
		return nil, fmt.Errorf("socket mode %o has more than permission bits", cfg.SocketMode)
	}
	c := &Connector{cfg: cfg, done: make(chan struct{}), refused: map[string]uint64{}}
	c.log = loglimit.New(cfg.Log.With("port", cfg.Port, "socket", cfg.Path), loggedLines, loggedEvery)
	if cfg.Mode == ModeServer {
		var err error
		if c.listen, err = newListener(cfg.Path, cfg.SocketMode); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Close ends the session and the connector and waits for both; a server's socket
// file is removed.
func (c *Connector) Close() {
	c.cancel()
	<-c.done
}

// Done is closed when the connector has ended.
func (c *Connector) Done() <-chan struct{} { return c.done }

// Session is the present session, nil while no front end is connected.
func (c *Connector) Session() *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Refusals are the messages that were refused in all sessions so far, by the
// specification's names; those that the device does not know are among them.
func (c *Connector) Refusals() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := maps.Clone(c.refused)
	if c.session != nil {
		c.session.addRefusals(all)
	}
	return all
}

// Connected reports whether a front end is connected.
func (c *Connector) Connected() bool { return c.Session() != nil }

// Share is a duplicate of the present session's socket, for a process that goes on with it
// when this one dies; nil if no front end is connected. The session goes on, and the State is
// without what the device knows (ProtocolFeatures).
//
//	error: no descriptor is free
func (c *Connector) Share() (*Adopted, error) {
	s := c.Session()
	if s == nil {
		return nil, nil
	}
	fd, err := s.conn.DupFD()
	if err != nil {
		return nil, fmt.Errorf("vhost %s: socket %s: %w", c.cfg.Port, c.cfg.Path, err)
	}
	return &Adopted{FD: fd}, nil
}

// Detach gives up the present session's socket, still connected, and ends the
// connector: another process goes on by Config.Adopted. It returns nil if no
// front end was connected. A server's socket file stays, for the heir to replace.
//
//	error: Session.Detach's; the connector goes on
func (c *Connector) Detach(ctx context.Context) (*Adopted, error) {
	if c.listen != nil {
		c.listen.keepFile(true)
	}
	var a *Adopted
	if s := c.Session(); s != nil {
		fd, st, err := s.Detach(ctx)
		if err != nil {
			if c.listen != nil {
				c.listen.keepFile(false)
			}
			return nil, fmt.Errorf("vhost %s: socket %s: %w", c.cfg.Port, c.cfg.Path, err)
		}
		a = &Adopted{FD: fd, State: st}
	}
	c.Close()
	return a, nil
}

// runConnector is the connector's goroutine.
func (c *Connector) runConnector(ctx context.Context) {
	defer close(c.done)
	defer c.cancel()
	if c.listen != nil {
		defer c.listen.close()
		// Accept knows no context: closing the listener wakes it.
		defer context.AfterFunc(ctx, c.listen.close)()
	}
	if !c.serveAdopted(ctx) {
		return
	}
	retry, lastErr := c.cfg.RetryMin, ""
	for ctx.Err() == nil {
		conn, peer, err := c.connect(ctx)
		if err != nil {
			// One line for each new cause, not one for each attempt.
			if ctx.Err() == nil && err.Error() != lastErr {
				lastErr = err.Error()
				c.log.Info("waiting for the front end", "mode", c.cfg.Mode.String(), "reason", err)
			}
			sleep(ctx, retry)
			retry = min(2*retry, c.cfg.RetryMax)
			continue
		}
		lastErr = ""
		c.cfg.Backend.Connected(peer)
		// Whoever got an answer must find the session here: it starts under the lock.
		c.mu.Lock()
		conn.busy = c.cfg.Busy
		s := NewSession(conn, State{}, c.cfg.Backend, c.log)
		c.session = s
		c.mu.Unlock()
		if c.serve(ctx, s); errors.Is(s.Err(), ErrDetached) {
			return
		}
		s.settle(ctx)
		if s.Counts().Messages > 0 {
			retry = c.cfg.RetryMin
		}
		// A peer that hangs up again and again would make this a busy loop, and fill logs.
		sleep(ctx, retry)
		retry = min(2*retry, c.cfg.RetryMax)
	}
}

// serveAdopted serves the connection that came with the configuration, if any;
// false if it has been handed on.
func (c *Connector) serveAdopted(ctx context.Context) bool {
	a := c.cfg.Adopted
	if a == nil {
		return true
	}
	conn, err := NewConnFromFD(a.FD)
	if err != nil {
		c.log.Error("the connection that was handed over is lost", "reason", err)
		c.cfg.Backend.Disconnected()
		return true
	}
	conn.busy = c.cfg.Busy
	s := NewSession(conn, a.State, c.cfg.Backend, c.log)
	c.mu.Lock()
	c.session = s
	c.mu.Unlock()
	c.serve(ctx, s)
	if errors.Is(s.Err(), ErrDetached) {
		return false
	}
	s.settle(ctx)
	return true
}

// connect waits for a front end (server) or tries to reach it (client). peer is whose
// connection it is, see Backend.Connected.
func (c *Connector) connect(ctx context.Context) (conn *Conn, peer string, err error) {
	if c.listen != nil {
		// Those that hung up while they waited for their turn had nothing to say, and would
		// take it from who is there: an impatient front end leaves many.
		for {
			sock, err := c.listen.accept()
			if err != nil {
				return nil, "", err
			}
			if conn, err = newConn(sock); err != nil {
				return nil, "", err
			}
			if !conn.gone() {
				return conn, processPeer(conn), nil
			}
			conn.Close()
		}
	}
	peer = socketPeer(c.cfg.Path)
	// A Unix socket either takes the connection at once or refuses it (also when
	// the listener's queue is full): nothing here waits for the peer.
	sock, err := new(net.Dialer).DialContext(ctx, "unix", c.cfg.Path)
	if err != nil {
		return nil, "", err
	}
	if socketPeer(c.cfg.Path) != peer {
		peer = "" // replaced meanwhile: whose it is, is not known
	}
	conn, err = newConn(sock.(*net.UnixConn))
	return conn, peer, err
}

// newConn is NewConn that owns sock also when it fails.
func newConn(sock *net.UnixConn) (*Conn, error) {
	conn, err := NewConn(sock)
	if err != nil {
		sock.Close()
	}
	return conn, err
}

// serve waits for the end of the present session s.
func (c *Connector) serve(ctx context.Context, s *Session) {
	c.log.Info("front end connected", "mode", c.cfg.Mode.String())
	select {
	case <-s.Done():
	case <-ctx.Done():
		s.Close()
	}
	c.mu.Lock()
	c.session = nil
	s.addRefusals(c.refused)
	c.mu.Unlock()
	n := s.Counts()
	reason := s.Err()
	args := []any{"reason", reason, "messages", n.Messages, "refused", n.Refused, "unknown", n.Unknown}
	switch {
	case errors.Is(reason, io.EOF):
		args[1] = "closed by the front end"
		fallthrough
	case errors.Is(reason, ErrClosed), errors.Is(reason, ErrDetached):
		c.log.Info("front end disconnected", args...)
	default:
		c.log.Warn("front end disconnected", args...)
	}
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
