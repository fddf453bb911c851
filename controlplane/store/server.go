package store

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

const (
	startTimeout  = 30 * time.Second // a large log takes a while to replay
	maxTxnOps     = 1 << 16          // etcd's default is 128
	compactPeriod = "1h"             // watchers that lag more read everything again
)

// server is an etcd with one member inside this process.
type server struct {
	etcd     *embed.Etcd
	endpoint string
	closing  atomic.Bool
}

// startServer starts it and waits until it serves.
func startServer(ctx context.Context, cfg Config) (*server, error) {
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("store: data directory %s: %w", cfg.DataDir, err)
	}
	// The socket lies in it: who may enter may change the network.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: data directory: %w", err)
	}
	listen, err := listenURL(cfg.Listen, dir)
	if err != nil {
		return nil, err
	}
	ec := embed.NewConfig()
	ec.Name = "baton"
	ec.Dir = filepath.Join(dir, "etcd")
	ec.ListenClientUrls = []url.URL{listen}
	ec.AdvertiseClientUrls = []url.URL{listen}
	// One member has nobody to talk to: it listens for none.
	ec.ListenPeerUrls = nil
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	ec.EnableGRPCGateway = false
	ec.MaxTxnOps = maxTxnOps
	ec.MaxRequestBytes = maxRequestSize
	ec.AutoCompactionMode = embed.CompactorModePeriodic
	ec.AutoCompactionRetention = compactPeriod
	s := &server{endpoint: listen.String()}
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(cfg.Logger.Named("etcd"), &s.closing))
	e, err := embed.StartEtcd(ec)
	if err != nil {
		return nil, fmt.Errorf("store: start etcd in %s: %w; is another controller running there?", ec.Dir, err)
	}
	s.etcd = e
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-e.Server.ReadyNotify():
		return s, nil
	case err = <-e.Err():
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout.C:
		err = fmt.Errorf("not ready after %s", startTimeout)
	}
	s.close()
	return nil, fmt.Errorf("store: start etcd in %s: %w", ec.Dir, err)
}

func listenURL(listen, dir string) (url.URL, error) {
	if listen == "" {
		socket := filepath.Join(dir, "etcd.sock")
		if len(socket) > 107 { // sun_path of unix(7), without the final zero
			return url.URL{}, fmt.Errorf("store: data directory %s: its path is too long for a socket in it; choose a shorter one or listen on TCP", dir)
		}
		// A socket that a killed server left behind would be taken for a busy one;
		// the lock on the data keeps two servers apart.
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return url.URL{}, fmt.Errorf("store: data directory %s: another etcd serves on its socket; stop it first", dir)
		}
		if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
			return url.URL{}, fmt.Errorf("store: remove old socket: %w", err)
		}
		return url.URL{Scheme: "unix", Path: socket}, nil
	}
	if _, _, err := net.SplitHostPort(listen); err != nil {
		return url.URL{}, fmt.Errorf("store: listen %q: write it as HOST:PORT, such as 127.0.0.1:2379", listen)
	}
	return url.URL{Scheme: "http", Host: listen}, nil
}

func (s *server) close() {
	s.closing.Store(true)
	s.etcd.Close()
	<-s.etcd.Server.StopNotify()
}
