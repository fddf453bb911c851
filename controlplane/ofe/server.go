package ofe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"baton/controlplane/model"
	"baton/controlplane/openflow"
	"baton/dataplane/flow"
)

// StatusSink keeps what is known of running hosts; *store.Store is one.
type StatusSink interface {
	SetHostStatus(ctx context.Context, host string, st model.HostState) error
	ClearHostStatus(ctx context.Context, host string) error
}

// Config is what a Server needs to know.
type Config struct {
	Software string     // version of the program, told to hosts
	Status   StatusSink // nil: nobody is told
	// Object is the Host object of a name, nil if there is none, to compare it with
	// what the host reports. nil: nothing is compared.
	Object func(host string) *model.Host
	// Settled waits until the network as the sink of it was told has a Host object of which ok is
	// true; *vmc.VMC's. nil: hosts cannot steer.
	Settled func(ctx context.Context, host string, ok func(*model.Host) bool) error
	// OnPacketIn gets packets that hosts hand up; it must not block. nil: they are only counted.
	OnPacketIn func(host string, p *openflow.PacketIn)

	// Intervals; zero = the default.
	EchoInterval time.Duration // openflow.DefaultEchoInterval
	EchoTimeout  time.Duration // openflow.DefaultEchoTimeout
	HelloTimeout time.Duration // 10 s
	ReplyTimeout time.Duration // 60 s: of a bundle with its barrier, or a question
	MinBackoff   time.Duration // 1 s after a host refused a bundle, doubled up to MaxBackoff
	MaxBackoff   time.Duration // 60 s
	SteerTimeout time.Duration // 8 s: until all hosts have applied that one steers

	Log hclog.Logger // default: none
}

// Server is the controller's side of OpenFlow-lite.
type Server struct {
	openflow.UnimplementedOpenFlowLiteServer
	cfg    Config
	log    hclog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	status *statusWriter
	wg     sync.WaitGroup // sessions' goroutines
	wrote  chan struct{}  // closed when the status writer has ended

	mu     sync.Mutex
	closed bool
	ready  bool
	hosts  map[string]*host
}

// New makes a Server. Close it when its gRPC server has stopped.
func New(cfg Config) *Server {
	setDefault(&cfg.EchoInterval, openflow.DefaultEchoInterval)
	setDefault(&cfg.EchoTimeout, openflow.DefaultEchoTimeout)
	setDefault(&cfg.HelloTimeout, 10*time.Second)
	setDefault(&cfg.ReplyTimeout, 60*time.Second)
	setDefault(&cfg.MinBackoff, time.Second)
	setDefault(&cfg.MaxBackoff, time.Minute)
	setDefault(&cfg.SteerTimeout, 8*time.Second)
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	s := &Server{cfg: cfg, log: cfg.Log, hosts: map[string]*host{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wrote = make(chan struct{})
	if cfg.Status == nil {
		close(s.wrote)
		return s
	}
	s.status = newStatusWriter(cfg.Status, cfg.Log, func(name string) bool { return s.host(name) != nil })
	go func() {
		defer close(s.wrote)
		s.status.run()
	}()
	return s
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// Register makes a gRPC server offer the service.
func (s *Server) Register(g *grpc.Server) { openflow.RegisterOpenFlowLiteServer(g, s) }

// Close ends all sessions and waits for them. Hosts keep what they have.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	s.status.stop() // after the sessions: they report that they ended
	<-s.wrote
}

// Ready says that all hosts of the network have been set: from here on a name
// that is not among them is unknown, not just unknown yet.
func (s *Server) Ready() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = true
}

// SetHost makes the host known and full all that it must have. The change's
// actions belong to the Server from here on.
func (s *Server) SetHost(name string, full flow.Change, revision int64) {
	full.Replace = true
	s.mu.Lock()
	h := s.hosts[name]
	if h == nil {
		h = newHost(name)
		s.hosts[name] = h
	}
	s.mu.Unlock()
	h.update(&full, revision)
}

// Update edits what a host must have. Unknown hosts are passed over: their
// SetHost brings everything.
func (s *Server) Update(name string, c flow.Change, revision int64) {
	if h := s.host(name); h != nil {
		h.update(&c, revision)
	}
}

// RemoveHost forgets a host and ends its session. The host keeps what it has.
func (s *Server) RemoveHost(name string) {
	s.mu.Lock()
	h := s.hosts[name]
	delete(s.hosts, name)
	s.mu.Unlock()
	if h != nil {
		h.attach(nil, unknownHost(name))
		s.status.put(name, nil)
	}
}

func (s *Server) host(name string) *host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[name]
}

func unknownHost(name string) error {
	return fmt.Errorf("host %q is not in the network: apply a document with kind Host and this name, or correct host in batond's configuration", name)
}

// ErrNotReady says that the controller has not read the network yet.
var ErrNotReady = errors.New("the controller is still reading the network; the host tries again by itself")

// admit finds the host that says hello.
func (s *Server) admit(name string) (*host, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch h := s.hosts[name]; {
	case s.closed:
		return nil, errors.New("the controller is stopping")
	case h != nil:
		return h, nil
	case !s.ready:
		return nil, ErrNotReady
	}
	return nil, unknownHost(name)
}

// HostInfo is what the Server knows of one host.
type HostInfo struct {
	Name        string
	Connected   bool
	Since       time.Time // the session began, or ended; zero = never seen
	LastHeard   time.Time // of the running session
	Software    string    // version of its batond
	VTEPMAC     flow.MAC  // as it last said
	VTEPIP      uint32
	OtherIP     uint32 // of a pair of VTEPs the one that it did not use then; 0 = no pair
	AtAlternate bool   // the one that it used is the object's alternate
	MTU         uint16
	Peer        string // address of its end of the session
	LastError   string // why it is not in step, or not connected

	Wanted   uint64 // entries that it must have
	Revision int64  // of the network, that it must have
	Applied  int64  // revision that it has applied and answered a barrier for
	InStep   bool   // connected, and everything wanted was answered
	Ports    []*openflow.PortStatus
	Counters
}

// Counters count what was sent to one host since it is known.
type Counters struct {
	Sessions       uint64
	Reconciled     uint64 // reconciliations that ended well
	EntriesSkipped uint64 // not sent in reconciliations, since the digests agreed on them
	EntriesSent    uint64 // sets and deletes, of all bundles
	Bundles        uint64 // answered
	Refused        uint64 // bundles that the host refused
	Mismatches     uint64 // digests that were wrong after a barrier
	PacketIns      uint64
}

// Hosts lists all hosts by name.
func (s *Server) Hosts() []HostInfo {
	s.mu.Lock()
	all := slices.SortedFunc(maps.Values(s.hosts), func(a, b *host) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	s.mu.Unlock()
	infos := make([]HostInfo, len(all))
	for i, h := range all {
		infos[i] = h.info()
	}
	return infos
}

// Host describes one host; false if there is none.
func (s *Server) Host(name string) (HostInfo, bool) {
	h := s.host(name)
	if h == nil {
		return HostInfo{}, false
	}
	return h.info(), true
}

// CountRules counts the rules with a given cookie that a host must have.
func (s *Server) CountRules(name string, cookie uint64) int {
	h := s.host(name)
	if h == nil {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wanted.CountCookie(cookie)
}

// WaitInStep waits until the host has applied, and answered the barrier of, all
// that was wanted of it when the call began.
//
//	error: unknown host; or ctx's, with the host's name and what it waits for
func (s *Server) WaitInStep(ctx context.Context, name string) error {
	h := s.host(name)
	if h == nil {
		return unknownHost(name)
	}
	return h.waitInStep(ctx)
}

// Stats asks a connected host for statistics.
func (s *Server) Stats(ctx context.Context, name string, ask *openflow.StatsRequest) (*openflow.StatsReply, error) {
	h := s.host(name)
	if h == nil {
		return nil, unknownHost(name)
	}
	x := h.current()
	if x == nil {
		return nil, fmt.Errorf("host %q is not connected", name)
	}
	return x.stats(ctx, ask)
}
