package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// sessions are the hosts that this store reports as connected, under one lease.
type sessions struct {
	mu      sync.Mutex
	lease   clientv3.LeaseID // 0 = none
	live    map[string]model.HostState
	running bool // runLease is
}

// SetHostStatus reports what a host's agent says, and that it is connected: for
// as long as this store lives and has etcd, plus Config.StatusTTL. st.Connected
// is taken as true. MACs, if any is not zero, and which VTEP is in use are kept beyond that.
//
//	error: ErrNotFound if there is no such host; ErrUnreachable
func (s *Store) SetHostStatus(ctx context.Context, host string, st model.HostState) error {
	ss := &s.sessions
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if err := s.grant(ctx); err != nil {
		return err
	}
	st.Connected = true
	if err := s.putStatus(ctx, host, st); err != nil {
		return err
	}
	if ss.live == nil {
		ss.live = map[string]model.HostState{}
	}
	ss.live[host] = st
	return nil
}

// grant gets a lease if there is none, and has it kept alive. sessions.mu is held.
func (s *Store) grant(ctx context.Context) error {
	ss := &s.sessions
	if ss.lease != 0 {
		return nil
	}
	err := s.request(ctx, "get a lease", func(ctx context.Context) error {
		ttl := int64(math.Ceil(s.cfg.StatusTTL.Seconds()))
		resp, err := s.client.Grant(ctx, ttl)
		if err == nil {
			ss.lease = resp.ID
		}
		return err
	})
	if err != nil {
		return err
	}
	if !ss.running {
		ss.running = true
		s.wg.Go(s.runLease)
	}
	return nil
}

// putStatus writes a host's keys under the present lease. sessions.mu is held.
func (s *Store) putStatus(ctx context.Context, host string, st model.HostState) error {
	ref := model.Ref{Kind: model.KindHost, Name: host}
	kept := learned{st.MAC, st.AlternateMAC, st.AtAlternate} // have a key of their own
	st.MAC, st.AlternateMAC, st.AtAlternate = flow.MAC{}, flow.MAC{}, false
	live, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("store: %s: %w", ref, err)
	}
	ops := []clientv3.Op{clientv3.OpPut(s.liveKey(host), string(live), clientv3.WithLease(s.sessions.lease))}
	if kept.MAC != (flow.MAC{}) || kept.AlternateMAC != (flow.MAC{}) {
		value, err := json.Marshal(kept)
		if err != nil {
			return fmt.Errorf("store: %s: %w", ref, err)
		}
		ops = append(ops, clientv3.OpPut(s.learnedKey(host), string(value)))
	}
	var there bool
	err = s.request(ctx, "write the status of "+ref.String(), func(ctx context.Context) error {
		exists := clientv3.Compare(clientv3.CreateRevision(s.objectKey(ref)), ">", 0)
		resp, err := s.client.Txn(ctx).If(exists).Then(ops...).Commit()
		if err == nil {
			there = resp.Succeeded
		}
		return err
	})
	if err == nil && !there {
		return fmt.Errorf("%s: %w; apply it first", ref, ErrNotFound)
	}
	return err
}

// ClearHostStatus reports that a host is no longer connected to this controller.
// It leaves alone what another controller reports by now.
func (s *Store) ClearHostStatus(ctx context.Context, host string) error {
	ss := &s.sessions
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if _, ok := ss.live[host]; !ok {
		return nil
	}
	delete(ss.live, host)
	if ss.lease == 0 {
		return nil // the lease is lost, and the key with it
	}
	return s.request(ctx, "clear the status of host "+host, func(ctx context.Context) error {
		ours := clientv3.Compare(clientv3.LeaseValue(s.liveKey(host)), "=", ss.lease)
		_, err := s.client.Txn(ctx).If(ours).Then(clientv3.OpDelete(s.liveKey(host))).Commit()
		return err
	})
}

// runLease keeps the lease alive; when etcd has let it go, it gets a new one and
// reports all hosts again.
func (s *Store) runLease() {
	var pause backoff
	failing := false // that is said once: etcd may be away for hours
	for s.ctx.Err() == nil {
		ss := &s.sessions
		ss.mu.Lock()
		err := s.renew()
		lease := ss.lease
		ss.mu.Unlock()
		if err != nil {
			if s.ctx.Err() == nil && !failing {
				s.log.Warn("cannot report the hosts' status to etcd; trying again until it works", "error", err)
			}
			failing = true
			pause.wait(s.ctx)
			continue
		}
		failing = false
		pause = backoff{}
		began := time.Now()
		alive, err := s.client.KeepAlive(s.ctx, lease)
		if err == nil {
			for range alive { // closed when the lease is lost or the store closes
			}
		}
		ss.mu.Lock()
		ss.lease = 0
		ss.mu.Unlock()
		if time.Since(began) < s.cfg.StatusTTL {
			pause.wait(s.ctx)
		}
	}
}

// renew makes sure of a lease and, if it is a new one, puts all hosts under it.
// sessions.mu is held.
func (s *Store) renew() error {
	if s.sessions.lease != 0 {
		return nil
	}
	if err := s.grant(s.ctx); err != nil {
		return err
	}
	for host, st := range s.sessions.live {
		if err := s.putStatus(s.ctx, host, st); err != nil && !errors.Is(err, ErrNotFound) {
			s.sessions.lease = 0 // all again under the next one; this one runs out
			return err
		}
	}
	return nil
}

// revoke gives the lease up, so that hosts are not taken for connected until it
// runs out. It is for Close: what fails is left to the lease's end.
func (s *Store) revoke() {
	s.sessions.mu.Lock()
	lease := s.sessions.lease
	s.sessions.mu.Unlock()
	if lease == 0 || !s.Health().OK {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	if _, err := s.client.Revoke(ctx, lease); err != nil {
		s.log.Debug("lease not revoked; it runs out by itself", "error", err)
	}
}
