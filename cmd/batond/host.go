package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"baton/cmd/internal/cli"
	"baton/controlplane/agent"
	"baton/controlplane/openflow"
	"baton/dataplane/pipeline"
	"baton/dataplane/port"
	"baton/dataplane/worker"
	"baton/hostapi"
	"baton/nic/dpdk/eal"
	"baton/upgrade/lease"
	"baton/vhost/proto"
)

// retryPorts is how often ports that could not be made are tried again.
const retryPorts = 5 * time.Second

// host is a running batond: what was started, in the order of starting.
type host struct {
	settings *settings
	loggers  *loggers
	cpus     cpus
	lock     *os.File // of the state folder
	under    *underlay
	pipe     *pipeline.Pipeline
	pool     *worker.Pool
	guests   *guestPorts
	target   *target
	agent    *agent.Agent
	api      *hostapi.Server
	notices  *notices
	upgrader *upgrader
	keeper   *keeper
	board    *lease.Board     // of the workers; nil without standby
	first    string           // the controller to begin with; empty: as configured
	owners   map[string][]int // of the queues of ports that come from another process
	started  time.Time
}

// serve runs batond until ctx ends, or a new process has taken over. takeover is the socket by
// which to take over from another one, -1 to start from nothing.
//
//	error: what could not be started, with the fix; everything is undone
func serve(ctx context.Context, s *settings, takeover, standbyOf int) error {
	h := &host{settings: s, loggers: newLoggers(s), started: time.Now()}
	h.notices, h.upgrader, h.keeper = newNotices(), newUpgrader(h), newKeeper(h)
	log := h.loggers.root
	log.Info("starting", "version", cli.Version, "host", s.Host)
	var err error
	if h.cpus, err = keepOff(s); err != nil {
		return err
	}
	pacing, stop := context.WithCancel(ctx)
	defer stop()
	go worker.PaceGC(pacing, int64(s.Memory.Heap)<<20)
	err = h.begin(ctx, takeover, standbyOf)
	if errors.Is(err, errCalledOff) {
		return h.close()
	}
	if err == nil {
		log.Info("ready", "socket", s.Socket)
		h.faulty()
		err = h.run(ctx)
	}
	closeErr := h.close()
	if closeErr != nil {
		log.Error("not everything was undone", "error", closeErr)
	}
	if err == nil && closeErr == nil {
		log.Info("ended")
	}
	return errors.Join(err, closeErr)
}

// begin starts from nothing or with what another process gives.
func (h *host) begin(ctx context.Context, takeover, standbyOf int) (err error) {
	switch {
	case takeover >= 0:
		err = h.takeOver(ctx, takeover)
	case standbyOf >= 0:
		err = h.standBy(ctx, standbyOf)
	default:
		if err = h.start(ctx); err == nil {
			close(h.upgrader.settled)
			h.keeper.start()
		}
		return err
	}
	if err != nil && !errors.Is(err, errCalledOff) {
		// What was given may be taken back at any moment: nothing is touched any more.
		h.loggers.root.Error("not taken over", "error", err)
		os.Exit(cli.ExitFailed)
	}
	return err
}

// start brings everything up. The cheap checks come first, so that a mistake in
// the configuration costs nothing.
func (h *host) start(ctx context.Context) (err error) {
	s := h.settings
	tlsConfig, err := s.loadTLS()
	if err != nil {
		return cli.Usage(err)
	}
	if err := eal.CheckDevice(s.Underlay.Device); err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(s.Socket), s.StateDir, s.Vhost.SocketDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("folder %s: %w", dir, errors.Unwrap(err))
		}
	}
	if err := hostapi.Probe(s.Socket); err != nil {
		return err
	}
	if h.lock, err = lockState(s.StateDir); err != nil {
		return err
	}
	if h.under, err = openUnderlay(s, 0, h.cpus.lcore, h.loggers.part("dpdk")); err != nil {
		return err
	}
	if err := h.startWorkers(ctx, h.under.nic, nil); err != nil {
		return err
	}
	if err := h.under.take(0); err != nil {
		return err
	}
	if err := h.newAgent(tlsConfig); err != nil {
		return err
	}
	h.agent.Restore()
	h.api, err = hostapi.Serve(s.Socket, h.source())
	return err
}

// source answers questions about h.
func (h *host) source() *source {
	return &source{
		host: h.settings.Host, started: h.started, pipe: h.pipe, pool: h.pool, guests: h.guests,
		under: h.under, agent: h.agent, loggers: h.loggers, upgrader: h.upgrader,
	}
}

// serveFile answers on the listener in f, which another process made, or another server of this
// one; f stays the caller's.
func (h *host) serveFile(f *os.File) error {
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("socket %s: %w", h.settings.Socket, err)
	}
	h.api = hostapi.ServeOn(l.(*net.UnixListener), h.source())
	return nil
}

// received is the number of packets that came from the wire.
func (h *host) received() (n uint64) {
	for _, p := range h.pool.Ports() {
		if p.Underlay {
			n += p.RxPackets
		}
	}
	return n
}

// startWorkers starts them, with nic as the port to the wire. With set they begin beside another
// process' workers, whose flows they are to have.
func (h *host) startWorkers(ctx context.Context, nic port.Port, set *setup) (err error) {
	s := h.settings
	h.pipe = pipeline.New()
	cfg := worker.Config{
		Workers: len(s.Workers.CPUs), CPUs: s.Workers.CPUs, Source: h.under.pool, Pipeline: h.pipe, Endpoint: h.under.vtep,
		BusyPoll: s.Workers.BusyPoll, Spin: s.Workers.Spin, Poll: s.Workers.PollInterval, MaxFlows: s.Workers.Flows,
	}
	if !s.Workers.Pin {
		cfg.CPUs, cfg.Unlocked = nil, true
	}
	if set != nil {
		cfg.Aside, cfg.Seed, h.owners, h.first = true, set.Seed, set.Owners, set.Controller
	}
	if s.Standby {
		if h.board, err = lease.New(); err != nil {
			return err
		}
		cfg.Thread, cfg.Pulse = h.hold, h.board.Pulse
	}
	if h.pool, err = worker.New(cfg); err != nil {
		return err
	}
	if err := h.pool.Start(); err != nil {
		return err
	}
	tellPreempted(h.loggers.part("worker"), h.pool.Preempted())
	if err := h.pool.AddPort(nic, worker.PortOptions{Underlay: true, Owners: h.owners[underlayPort]}); err != nil {
		return err
	}
	mode := proto.ModeClient
	if s.Vhost.Mode == "server" {
		mode = proto.ModeServer
	}
	h.guests = &guestPorts{
		log: h.loggers.part("vhost"), pool: h.pool, dir: s.Vhost.SocketDir, mode: mode, pairs: s.Vhost.QueuePairs,
		without: s.without(), maxMemory: s.maxMemory(), state: filepath.Join(s.StateDir, "vhost"),
		innerMTU: h.under.vtep.InnerMTU(), ports: map[string]*guestPort{}, failed: map[string]error{},
		onState:  h.keeper.portChanged,
		marks:    newMarks(h.board),
		onChange: h.notices.put,
	}
	h.target = &target{ctx: ctx, pipe: h.pipe, pool: h.pool, guests: h.guests}
	return nil
}

// setup is what another process needs before any port.
func (h *host) setup() setup {
	s := setup{Host: h.settings.Host, Device: h.settings.device(h.under.which), Seed: h.pool.Seed(), Owners: map[string][]int{}, Controller: h.agent.Status().Controller}
	for _, p := range h.pool.Ports() {
		s.Owners[p.Name] = p.Workers
	}
	return s
}

// hold is a worker's lease of life, see lease.
func (h *host) hold(worker int) (func(), error) {
	l, err := h.board.Hold(worker)
	if err != nil {
		return nil, err
	}
	return func() { _ = l.Free() }, nil // it is this thread's
}

// newAgent makes the agent; run has it keep its session.
func (h *host) newAgent(tlsConfig *tls.Config) (err error) {
	s := h.settings
	h.agent, err = agent.New(agent.Config{
		Target: h.target, Host: s.Host, Software: cli.Version, VTEP: h.under.tunnel(), OtherIP: s.otherIP(h.under.which), MTU: s.Underlay.MTU,
		Controllers: s.Controllers, First: h.first, TLS: tlsConfig, Insecure: s.TLS.Insecure, Checkpoint: filepath.Join(s.StateDir, "checkpoint"),
		Log: h.loggers.part("agent"), Applied: h.keeper.rulesChanged,
	})
	if err == nil {
		go h.notify(h.target.ctx)
	}
	return err
}

// run keeps the session with the controller and passes punted frames to it.
func (h *host) run(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	done := make(chan error, 1)
	go func() { done <- h.agent.Run(ctx) }()
	retry := time.NewTicker(retryPorts)
	defer retry.Stop()
	for {
		select {
		case err := <-done:
			if ctx.Err() != nil {
				return nil // told to end
			}
			return err
		case <-h.upgrader.gone:
			end()
			<-done
			return nil
		case p := <-h.pool.Punts():
			h.agent.PacketIn(&openflow.PacketIn{
				InPort: uint64(p.Key.InPort), Reason: p.Reason, Frame: p.Frame, Length: uint32(len(p.Frame)),
			})
		case <-retry.C:
			h.guests.retry(ctx, h.pipe.Snapshot())
		}
	}
}

// close undoes what start did, as far as it came, in reverse order.
func (h *host) close() error {
	var errs []error
	h.upgrader.wait()
	h.keeper.stop()
	if h.api != nil {
		if !h.target.ended.Load() { // else it has left
			errs = append(errs, h.api.Close())
		}
	}
	if h.guests != nil {
		h.guests.close()
	}
	if h.pool != nil {
		errs = append(errs, h.pool.Close())
	}
	if h.under != nil {
		errs = append(errs, h.under.close())
	}
	if h.board != nil {
		errs = append(errs, h.board.Close())
	}
	if h.lock != nil {
		errs = append(errs, h.lock.Close())
	}
	return errors.Join(errs...)
}

// lockState keeps a second batond from writing to the same checkpoint. The lock
// goes with the file's descriptor, however the process ends.
func lockState(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state_dir %s: %w: choose a folder that can be written", dir, errors.Unwrap(err))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("state_dir %s: another batond uses it: stop that one, or give each a folder of its own", dir)
		}
		return nil, fmt.Errorf("state_dir %s: lock: %w", dir, err)
	}
	return f, nil
}

// loadTLS reads the TLS files; nil if there are none.
func (s *settings) loadTLS() (*tls.Config, error) {
	if s.tlsFiles() == 0 {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(s.TLS.Cert, s.TLS.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert %s with tls.key %s: %w", s.TLS.Cert, s.TLS.Key, err)
	}
	pem, err := os.ReadFile(s.TLS.CA)
	if err != nil {
		return nil, fmt.Errorf("tls.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.ca %s: no certificate in it", s.TLS.CA)
	}
	// A controller that does not know our authority would get no certificate by
	// default, and say that there is none instead of what is wrong with it.
	show := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return &tls.Config{GetClientCertificate: show, RootCAs: pool, MinVersion: tls.VersionTLS13}, nil
}

var _ agent.Target = (*target)(nil)
