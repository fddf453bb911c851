package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"baton/controlplane/model"
)

const (
	probeInterval  = 2 * time.Second // between looks whether etcd answers: half a host's patience
	maxRequestSize = 10 << 20        // bytes, the most that etcd recommends: some 40000 objects in one Apply
	dialTimeout    = 2 * time.Second // to say why an endpoint cannot be reached
)

// Store is the logical network in etcd.
type Store struct {
	cfg    Config
	log    hclog.Logger
	client *clientv3.Client
	server *server // nil with a cluster

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards what follows
	health Health
	cache  *base // the network as last read or written by this store
	closed bool

	sessions sessions
}

// Open connects to the cluster, or starts the embedded server, and makes sure
// that it answers. The caller closes the Store.
//
//	error: ErrUnreachable, naming the endpoints; a data directory in use; bad TLS files
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, log: cfg.Logger}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	endpoints := cfg.Endpoints
	if len(endpoints) == 0 {
		srv, err := startServer(ctx, cfg)
		if err != nil {
			s.cancel()
			return nil, err
		}
		s.server, endpoints = srv, []string{srv.endpoint}
	}
	if err := s.connect(ctx, endpoints); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.wg.Go(s.runProbe)
	return s, nil
}

// complete fills in the defaults and checks.
func (c *Config) complete() error {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	c.Prefix = "/" + strings.Trim(c.Prefix, "/")
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.StatusTTL <= 0 {
		c.StatusTTL = DefaultStatusTTL
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if len(c.Endpoints) == 0 && c.DataDir == "" {
		return errors.New("store: neither endpoints nor a data directory: give one of them")
	}
	for _, e := range c.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "unix" || u.Host+u.Path == "" {
			return fmt.Errorf("store: etcd endpoint %q: write it as http://HOST:2379, https://HOST:2379 or unix:///PATH", e)
		}
	}
	return nil
}

func (s *Store) connect(ctx context.Context, endpoints []string) error {
	tlsConfig, err := s.cfg.TLS.load(endpoints)
	if err != nil {
		return err
	}
	s.client, err = clientv3.New(clientv3.Config{
		Context:              s.ctx,
		Endpoints:            endpoints,
		TLS:                  tlsConfig,
		DialTimeout:          s.cfg.Timeout,
		DialKeepAliveTime:    5 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		MaxCallSendMsgSize:   maxRequestSize + 1<<20,
		Logger:               zapLogger(s.log.Named("client"), &quietly),
		DialOptions:          []grpc.DialOption{grpc.WithUserAgent("baton-controller")},
	})
	if err != nil {
		return fmt.Errorf("store: etcd client: %w", err)
	}
	if err := s.probe(ctx); err != nil {
		return s.unreachable(endpoints, tlsConfig, err)
	}
	return nil
}

// probe asks etcd for a linearizable read, which takes a leader.
func (s *Store) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	_, err := s.client.Get(ctx, s.generationKey(), clientv3.WithKeysOnly())
	s.mu.Lock()
	if ok := err == nil; ok != s.health.OK || s.health.Since.IsZero() {
		s.health.OK, s.health.Since = ok, time.Now()
	}
	s.health.Err = err
	s.mu.Unlock()
	return err
}

// unreachable says of each endpoint what is wrong with it.
func (s *Store) unreachable(endpoints []string, t *tls.Config, cause error) error {
	var why []string
	for _, e := range endpoints {
		why = append(why, e+": "+reach(e, t))
	}
	return fmt.Errorf("store: %w within %s: %s (%w): check the endpoints and that the cluster runs and has a leader",
		ErrUnreachable, s.cfg.Timeout, strings.Join(why, "; "), cause)
}

// reach tries to connect to an endpoint and says what came of it.
func reach(endpoint string, t *tls.Config) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err.Error()
	}
	network, address := "tcp", u.Host
	if u.Scheme == "unix" {
		network, address = "unix", u.Host+u.Path
	} else if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "2379")
	}
	c, err := net.DialTimeout(network, address, dialTimeout)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	if u.Scheme == "https" {
		if err := handshake(c, u.Hostname(), t); err != nil {
			return err.Error()
		}
	}
	return "accepts connections but does not answer as etcd; is it http where TLS is wanted, or the other way round?"
}

// runProbe keeps Health up to date until Close.
func (s *Store) runProbe() {
	t := time.NewTicker(probeInterval)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
		}
		was := s.Health().OK
		err := s.probe(s.ctx)
		switch {
		case s.ctx.Err() != nil:
		case err != nil && was:
			s.log.Warn("etcd does not answer; going on with what is known", "error", err)
		case err == nil && !was:
			s.log.Info("etcd answers again")
		}
	}
}

// Health says whether etcd answered lately: the state is at most two seconds and
// one Config.Timeout old.
func (s *Store) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health
}

// Client is the connection, for what else a controller keeps in etcd (elections).
// The Store closes it.
func (s *Store) Client() *clientv3.Client { return s.client }

// Prefix is where the store's keys begin, without a slash at the end.
func (s *Store) Prefix() string { return s.cfg.Prefix }

// Endpoint is where the embedded server serves other clients; empty with a cluster.
func (s *Store) Endpoint() string {
	if s.server == nil {
		return ""
	}
	return s.server.endpoint
}

// Close ends all watches, gives up the sessions that this store reported, and
// stops the embedded server. A second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	if s.client != nil {
		s.revoke()
	}
	s.cancel()
	s.wg.Wait()
	var err error
	if s.client != nil {
		if err = s.client.Close(); errors.Is(err, context.Canceled) {
			err = nil // its context is ours and has just ended
		}
	}
	if s.server != nil {
		s.server.close()
	}
	return err
}

// request runs one exchange with etcd under the store's timeout, and says of a
// failure what was being done.
func (s *Store) request(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	if s.ctx.Err() != nil {
		return fmt.Errorf("store: %s: %w", what, ErrClosed)
	}
	err := f(ctx)
	switch {
	case err == nil:
		return nil
	case s.ctx.Err() != nil:
		return fmt.Errorf("store: %s: %w", what, ErrClosed)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("store: %s: %w within %s (%s): %w", what, ErrUnreachable, s.cfg.Timeout, strings.Join(s.client.Endpoints(), ", "), err)
	case errors.Is(err, rpctypes.ErrNoSpace):
		fix := "compact it, defragment it and disarm its alarm (etcdctl compact, defrag, alarm disarm); should it fill again, raise its --quota-backend-bytes"
		if s.server != nil {
			fix = "restart the controller, which compacts it"
		}
		return fmt.Errorf("store: %s: the etcd database is full: %s (%w)", what, fix, err)
	}
	return fmt.Errorf("store: %s: %w", what, err)
}

// Get is one object as it is now.
//
//	error: ErrNotFound
func (s *Store) Get(ctx context.Context, r model.Ref) (model.Object, error) {
	snap, err := s.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if o := snap.State.Get(r); o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("%s: %w", r, ErrNotFound)
}
