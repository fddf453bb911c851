package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"baton/controlplane/openflow"
	"baton/dataplane/flow"
)

// Target is the dataplane as the agent sees it. The agent calls Apply and Barrier
// from one goroutine, the others from any.
type Target interface {
	// Apply makes the edits take effect together, or none of them.
	Apply(c flow.Change) error
	// Barrier returns when no packet will be handled by anything that an earlier
	// Apply removed.
	Barrier(ctx context.Context) error
	// Ports lists the ports of the host with their state.
	Ports() []*openflow.PortStatus
	// Stats answers a request for statistics. What was not asked for stays empty.
	Stats(ctx context.Context, ask *openflow.StatsRequest) (*openflow.StatsReply, error)
}

// Config is what an Agent needs to know.
type Config struct {
	Target      Target
	Host        string   // name of the Host object
	Software    string   // version of the program, for people
	VTEP        VTEP     // the one in use
	OtherIP     uint32   // IPv4, host order: of a pair of VTEPs the other one's, 0 = no pair
	MTU         uint16   // bytes of L3 on the underlay
	Controllers []string // unix:PATH or HOST:PORT, tried in order; none = work from the checkpoint alone
	First       string   // of Controllers the one to begin with; empty, or none of them: the first
	TLS         *tls.Config
	Insecure    bool   // allow TCP beyond this machine without TLS
	Checkpoint  string // path of the checkpoint file; empty = none
	Applied     func() // Export has changed; must not wait; nil: nobody asks

	// Intervals; zero = the default.
	EchoInterval       time.Duration // openflow.DefaultEchoInterval
	EchoTimeout        time.Duration // openflow.DefaultEchoTimeout
	ConnectTimeout     time.Duration // 5 s: dialling and hello
	MinBackoff         time.Duration // 200 ms between rounds over the controllers, doubled up to MaxBackoff
	MaxBackoff         time.Duration // 10 s
	CheckpointInterval time.Duration // 500 ms: least time between two writes

	Log hclog.Logger // default: none
}

// Agent is the host's side of OpenFlow-lite. Make one with New.
type Agent struct {
	cfg       Config
	log       hclog.Logger
	endpoints []openflow.Endpoint

	restored bool                         // Restore was called; Run's goroutine only
	said     map[openflow.Endpoint]string // how the last attempt at each controller ended; Run's goroutine only
	saved    chan struct{}                // cap 1: there is something to write
	left     atomic.Bool                  // another process writes them
	turn     chan struct{}                // cap 1: who has put something in it may Steer

	applying sync.Mutex // held while a change is applied; taken before mu

	mu       sync.Mutex // guards what follows; the work goroutine alone changes state
	state    *openflow.State
	revision int64
	vtep     VTEP     // the one in use
	otherIP  uint32   // of a pair, the other one's
	session  *session // the one there is, nil: none
	status   Status
	ports    map[string]*openflow.PortStatus // changes not yet sent

	portsChanged chan struct{} // cap 1
	packets      chan *openflow.PacketIn
}

// Status is what an Agent tells about itself.
type Status struct {
	Controller string    // that it has a session with; empty = none
	Since      time.Time // the session began, or the last one ended
	LastError  string    // why there is no session; empty while there is one
	Revision   int64     // of the network that was applied last
	Entries    uint64    // rules, bindings and neighbours
	Digest     openflow.Digest
	Counters
}

// Counters count since the agent was made.
type Counters struct {
	Sessions         uint64 // that got past the hello
	Bundles          uint64 // applied
	BundlesRefused   uint64 // by the codec or the Target
	EntriesReceived  uint64 // sets and deletes in applied bundles
	BucketsAsked     uint64 // of the digest, by controllers that found a difference
	PacketsSent      uint64
	PacketsDropped   uint64 // no session, or its queue was full
	Checkpoints      uint64 // written
	CheckpointErrors uint64
}

// packetQueue bounds packets that wait for the controller: a second's worth of
// a punt limited to a few hundred a second.
const packetQueue = 256

// New checks the configuration and makes an Agent; it does nothing until Run.
//
//	error: a controller's address, or one beyond this machine without TLS
func New(cfg Config) (*Agent, error) {
	if cfg.Target == nil || cfg.Host == "" {
		return nil, errors.New("agent: needs a target and the host's name")
	}
	setDefault(&cfg.EchoInterval, openflow.DefaultEchoInterval)
	setDefault(&cfg.EchoTimeout, openflow.DefaultEchoTimeout)
	setDefault(&cfg.ConnectTimeout, 5*time.Second)
	setDefault(&cfg.MinBackoff, 200*time.Millisecond)
	setDefault(&cfg.MaxBackoff, 10*time.Second)
	setDefault(&cfg.CheckpointInterval, 500*time.Millisecond)
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	a := &Agent{
		cfg: cfg, log: cfg.Log, said: map[openflow.Endpoint]string{}, state: openflow.NewState(), saved: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		ports: map[string]*openflow.PortStatus{}, portsChanged: make(chan struct{}, 1),
		packets: make(chan *openflow.PacketIn, packetQueue), vtep: cfg.VTEP, otherIP: cfg.OtherIP,
	}
	for _, c := range cfg.Controllers {
		e, err := openflow.ParseEndpoint(c)
		if err != nil {
			return nil, fmt.Errorf("controllers: %w", err)
		}
		conn, err := e.Dial(cfg.TLS, cfg.Insecure) // connects to nothing yet
		if err != nil {
			return nil, fmt.Errorf("controllers: %w", err)
		}
		conn.Close()
		a.endpoints = append(a.endpoints, e)
	}
	return a, nil
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// Run restores the checkpoint, if Restore has not, and keeps a session with a
// controller until ctx ends. It returns after the last checkpoint was written;
// the Target keeps what it has. Call it once.
func (a *Agent) Run(ctx context.Context) error {
	if !a.restored {
		a.Restore()
	}
	// The checkpoints end after the sessions: the last one has all that was applied.
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { a.runCheckpoints(writing) })
	a.runSessions(ctx)
	stop()
	wg.Wait()
	return ctx.Err()
}

// runSessions goes round the controllers, one session at a time.
func (a *Agent) runSessions(ctx context.Context) {
	if len(a.endpoints) == 0 {
		a.log.Info("no controllers configured: forwarding by the checkpoint alone")
		<-ctx.Done()
		return
	}
	backoff := a.cfg.MinBackoff
	first := slices.IndexFunc(a.endpoints, func(e openflow.Endpoint) bool { return e.String() == a.cfg.First })
	for i := max(0, first); ctx.Err() == nil; i = (i + 1) % len(a.endpoints) {
		e := a.endpoints[i]
		start := time.Now()
		good, err := a.runSession(ctx, e)
		// A session that ends at once, again and again, is no success.
		good = good && time.Since(start) > 5*a.cfg.MinBackoff
		if ctx.Err() != nil {
			return
		}
		a.noteEnd(e, err)
		if good { // it worked for a while: start again with the preferred controller
			backoff, i = a.cfg.MinBackoff, -1
		} else if i < len(a.endpoints)-1 {
			continue // another one may answer at once
		}
		if !sleep(ctx, backoff/2+rand.N(backoff/2+1)) {
			return
		}
		backoff = min(2*backoff, a.cfg.MaxBackoff)
	}
}

// noteEnd logs the end of a session, or of an attempt, unless the one before with
// this controller was an attempt that ended the same way: controllers may be away
// for hours.
func (a *Agent) noteEnd(e openflow.Endpoint, err error) {
	text := fmt.Sprintf("controller %s: %v", e, err)
	a.mu.Lock()
	same := a.said[e] == text && a.status.Controller == ""
	if a.status.Controller != "" {
		a.status.Since = time.Now()
		clear(a.said) // a new outage
	}
	a.status.Controller, a.status.LastError, a.session = "", text, nil
	a.mu.Unlock()
	a.said[e] = text
	if !same {
		a.log.Warn("no session: forwarding goes on with what was applied", "controller", e.String(), "error", err)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Status is a copy of what the agent knows of itself.
func (a *Agent) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.status
	s.Revision, s.Digest = a.revision, a.state.Digest()
	s.Entries = s.Digest.Entries
	return s
}

// State is all that is applied, as a change that replaces everything.
func (a *Agent) State() flow.Change {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state.Full()
}

// count changes the counters.
func (a *Agent) count(f func(*Counters)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&a.status.Counters)
}

// PacketIn offers a packet to the controller. It never blocks; without a session
// or room the packet is dropped and counted. The agent keeps p.
func (a *Agent) PacketIn(p *openflow.PacketIn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status.Controller != "" {
		select {
		case a.packets <- p:
			a.status.PacketsSent++
			return true
		default:
		}
	}
	a.status.PacketsDropped++
	return false
}

// PortChanged tells the controller of a port's new state, now or when there is a
// session. Of several changes of one port that wait, the last is sent.
func (a *Agent) PortChanged(p *openflow.PortStatus) {
	a.mu.Lock()
	a.ports[p.Name] = p
	a.mu.Unlock()
	signal(a.portsChanged)
}

func (a *Agent) takePorts() []*openflow.PortStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*openflow.PortStatus, 0, len(a.ports))
	for name, p := range a.ports {
		all = append(all, p)
		delete(a.ports, name)
	}
	return all
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
