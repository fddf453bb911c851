package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"baton/cmd/internal/cli"
	"baton/controlplane/api"
	"baton/controlplane/migrate"
	"baton/controlplane/model"
	"baton/controlplane/ofe"
	"baton/controlplane/openflow"
	"baton/controlplane/store"
	"baton/controlplane/vmc"
)

// stopPatience is how long running calls may take when the controller stops.
const stopPatience = 2 * time.Second

// controller is all parts, joined.
type controller struct {
	s     *settings
	logs  *logs
	log   hclog.Logger
	store *store.Store
	ofe   *ofe.Server
	vmc   *vmc.VMC
	moves *migrate.Arrivals

	listeners []listener
	wg        sync.WaitGroup
	failed    chan error // cap 1: a part ended that must not
}

// listener is one socket and what serves it.
type listener struct {
	net.Listener
	options []grpc.ServerOption
	job     job
	serve   func(net.Listener) error
	stop    func()
}

// job is what a socket is for.
type job uint8

const (
	jobAPI job = iota
	jobOpenFlow
	jobMetrics
)

// serve runs the controller until ctx ends.
func serve(ctx context.Context, s *settings) error {
	root := newLogger(s)
	c := &controller{s: s, log: root, logs: newLogs(root, hclog.LevelFromString(s.Log.Level)), failed: make(chan error, 1)}
	defer c.logs.onSignal()()
	tlsConfig, err := s.tlsFiles().Load()
	if err != nil {
		return cli.Usage(err)
	}
	// The sockets come first: a second controller by mistake then touches no data.
	// Who connects early waits in their queues.
	if err := c.listen(tlsConfig); err != nil {
		c.closeListeners()
		return err
	}
	if err := c.openStore(ctx); err != nil {
		c.closeListeners()
		return err
	}
	c.join()
	return c.run(ctx)
}

// listen opens all sockets.
func (c *controller) listen(t *tls.Config) error {
	for _, x := range []struct {
		address string
		job     job
	}{
		{prefixed("unix:", c.s.API.Socket), jobAPI}, {c.s.API.Listen, jobAPI},
		{prefixed("unix:", c.s.OpenFlow.Socket), jobOpenFlow}, {c.s.OpenFlow.Listen, jobOpenFlow},
		{c.s.Metrics.Listen, jobMetrics},
	} {
		if x.address == "" {
			continue
		}
		e, err := openflow.ParseEndpoint(x.address)
		if err != nil {
			return cli.Usage(err)
		}
		l := listener{job: x.job}
		if x.job != jobMetrics {
			if l.options, err = e.ServerOptions(t, c.s.TLS.Insecure); err != nil {
				return cli.Usage(err)
			}
			if t != nil && e.Network == "tcp" {
				l.options = append(l.options, grpc.Creds(newLoggedTLS(credentials.NewTLS(t), c.log)))
			}
		}
		if l.Listener, err = e.Listen(); err != nil {
			return err
		}
		c.listeners = append(c.listeners, l)
	}
	return nil
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func (c *controller) closeListeners() {
	for _, l := range c.listeners {
		l.Close()
	}
}

func (c *controller) openStore(ctx context.Context) (err error) {
	if len(c.s.Etcd.Endpoints) == 0 {
		if err := os.MkdirAll(c.s.Etcd.DataDir, 0o700); err != nil {
			return fmt.Errorf("etcd.data_dir: %w: make the folder, or choose one that can be written", err)
		}
	}
	c.store, err = store.Open(ctx, store.Config{
		Prefix: c.s.Etcd.Prefix, Endpoints: c.s.Etcd.Endpoints, DataDir: c.s.Etcd.DataDir, Listen: c.s.Etcd.Listen,
		Timeout: c.s.Etcd.Timeout, StatusTTL: c.s.Etcd.StatusTTL, Logger: c.logs.part("store"),
		TLS: store.TLS{CA: c.s.Etcd.CA, Cert: c.s.Etcd.Cert, Key: c.s.Etcd.Key},
	})
	return err
}

// join makes the parts, and gives each socket its server.
func (c *controller) join() {
	c.ofe = ofe.New(ofe.Config{
		Software: cli.Version, Status: c.store, Object: func(name string) *model.Host { return c.vmc.Host(name) }, Log: c.logs.part("ofe"),
		Settled: func(ctx context.Context, name string, ok func(*model.Host) bool) error {
			return c.vmc.Settled(ctx, name, ok)
		},
		OnPacketIn:   func(host string, p *openflow.PacketIn) { c.moves.PacketIn(host, p) },
		EchoInterval: c.s.OpenFlow.EchoInterval, EchoTimeout: c.s.OpenFlow.EchoTimeout,
	})
	c.vmc = vmc.New(vmc.Config{Store: c.store, Sink: c.ofe, Log: c.logs.part("vmc")})
	c.moves = migrate.New(migrate.Config{Store: c.store, Network: c.vmc, Hosts: c.ofe, Log: c.logs.part("migrate")})
	server := api.NewServer(api.Config{
		Store: c.store, Hosts: c.ofe, Progress: c.vmc, SetLogLevel: c.logs.setLevel, Log: c.logs.part("api"),
	})
	for i := range c.listeners {
		l := &c.listeners[i]
		switch l.job {
		case jobAPI:
			l.serveGRPC(server.Register, server.ServerOptions()...)
		case jobOpenFlow:
			l.serveGRPC(c.ofe.Register)
		case jobMetrics:
			l.serveMetrics(newCollector(c))
		}
	}
}

func (l *listener) serveGRPC(register func(*grpc.Server), more ...grpc.ServerOption) {
	g := grpc.NewServer(append(l.options, more...)...)
	register(g)
	l.serve = g.Serve
	l.stop = func() { // short calls may end; ofe has ended the hosts' sessions
		t := time.AfterFunc(stopPatience, g.Stop)
		defer t.Stop()
		g.GracefulStop()
	}
}

func (l *listener) serveMetrics(x collector) {
	r := prometheus.NewRegistry()
	r.MustRegister(x)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	h := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	l.serve, l.stop = h.Serve, func() { h.Close() }
}

// run serves until ctx ends or a part fails, and stops in the order of need.
func (c *controller) run(ctx context.Context) error {
	working, stop := context.WithCancel(ctx)
	c.wg.Go(func() {
		if err := c.vmc.Run(working); err != nil && working.Err() == nil {
			c.fail(fmt.Errorf("following the network: %w", err))
		}
	})
	c.wg.Go(func() { c.moves.Run(working) })
	for _, l := range c.listeners {
		c.log.Info("listening", "address", l.Addr().String())
		c.wg.Go(func() {
			if err := l.serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
				c.fail(fmt.Errorf("serve %s: %w", l.Addr(), err))
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
		c.log.Info("stopping: hosts go on with what they have")
	case err = <-c.failed:
	}
	stop()
	c.ofe.Close()
	for _, l := range c.listeners {
		l.stop()
	}
	c.wg.Wait()
	return errors.Join(err, c.store.Close())
}

func (c *controller) fail(err error) {
	select {
	case c.failed <- err:
	default:
	}
}
