package store

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"baton/controlplane/model"
)

// ErrNotMoving says that a port is not (or no longer) about to move to a host.
var ErrNotMoving = errors.New("the port is not about to move there")

// Arrive ends the move of a VM's port: host becomes its host, and migrateTo is
// absent again. Both change together, and only if the port is about to move to
// host: a report that comes late, or twice, changes nothing.
//
//	error: ErrNotFound; ErrNotMoving; as Apply otherwise
func (s *Store) Arrive(ctx context.Context, port, host string) (int64, error) {
	p, err := s.change(ctx, false, func(b *base) (*plan, error) { return s.planArrive(b, port, host) })
	if err != nil {
		return 0, err
	}
	return p.result.Revision, nil
}

func (s *Store) planArrive(b *base, port, host string) (*plan, error) {
	ref := model.Ref{Kind: model.KindPort, Name: port}
	old := b.state.Ports[port]
	switch {
	case old == nil:
		return nil, fmt.Errorf("%s: %w", ref, ErrNotFound)
	case old.MigrateTo == "" || old.MigrateTo != host:
		return nil, fmt.Errorf("%s: host %s: %w", ref, host, ErrNotMoving)
	}
	now := model.Clone(old)
	now.Host, now.MigrateTo = host, ""
	p := &plan{next: b.state.Clone()}
	p.next.Set(now)
	if ps := model.Validate(p.next, []model.Ref{ref}); len(ps) > 0 {
		return nil, ps
	}
	value, err := model.EncodeJSON(now)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	p.ops = append(p.ops, clientv3.OpPut(s.objectKey(ref), string(value)))
	p.result.Updated = append(p.result.Updated, ref)
	return p, nil
}
