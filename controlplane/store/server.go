package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

const (
	startTimeout  = 30 * time.Second // a large log takes a while to replay
	maxTxnOps     = 1 << 16          // etcd's default is 128
	compactPeriod = "5m"             // watchers that lag more read everything again
	defaultQuota  = 8 << 30          // bytes of the database, the most that etcd recommends
	// raft keeps its entries in memory, each as large as an Apply may be; one member
	// has no follower that they must wait for.
	snapshotCount  = 100
	catchUpEntries = 10
)

// server is an etcd with one member inside this process.
type server struct {
	etcd     *embed.Etcd
	endpoint string
	lock     *os.File // on the data directory
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
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s, err := startLocked(ctx, cfg, dir)
	if err != nil {
		lock.Close()
		return nil, err
	}
	s.lock = lock
	return s, nil
}

// startLocked starts etcd in a directory that nobody else uses.
func startLocked(ctx context.Context, cfg Config, dir string) (*server, error) {
	listen, err := listenURL(cfg.Listen, dir)
	if err != nil {
		return nil, err
	}
	s := &server{endpoint: listen.String()}
	ec := s.config(cfg, dir, listen)
	if err := probeData(ec.Dir); err != nil {
		return nil, err
	}
	e, err := embed.StartEtcd(ec)
	if err != nil {
		return nil, fmt.Errorf("store: start etcd in %s: %w", ec.Dir, err)
	}
	s.etcd = e
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-e.Server.ReadyNotify():
		s.freeSpace(ctx, cfg.Logger)
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

// config is how etcd runs here.
func (s *server) config(cfg Config, dir string, listen url.URL) *embed.Config {
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
	ec.QuotaBackendBytes = defaultQuota
	if cfg.quota > 0 {
		ec.QuotaBackendBytes = cfg.quota
	}
	ec.SnapshotCount = snapshotCount
	ec.SnapshotCatchUpEntries = catchUpEntries
	ec.AutoCompactionMode = embed.CompactorModePeriodic
	ec.AutoCompactionRetention = compactPeriod
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(cfg.Logger.Named("etcd"), &s.closing))
	return ec
}

// freeSpace makes a database that was full writable again: it forgets the past,
// gives the space back and disarms the alarm. If that fails, etcd can still be read.
func (s *server) freeSpace(ctx context.Context, log hclog.Logger) {
	etcd := s.etcd.Server
	for _, a := range etcd.Alarms() {
		if a.Alarm != pb.AlarmType_NOSPACE {
			continue
		}
		was := etcd.Backend().Size()
		_, err := etcd.Compact(ctx, &pb.CompactionRequest{Revision: etcd.KV().Rev(), Physical: true})
		if err == nil || errors.Is(err, mvcc.ErrCompacted) {
			err = etcd.Defragment()
		}
		if err == nil {
			_, err = etcd.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: a.MemberID, Alarm: a.Alarm})
		}
		if err != nil {
			log.Error("the etcd database is full and could not be compacted: nothing can be written", "error", err)
			return
		}
		log.Warn("the etcd database was full: compacted it", "bytes_before", was, "bytes_now", etcd.Backend().Size())
	}
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
	if s.lock != nil {
		s.lock.Close()
	}
}
