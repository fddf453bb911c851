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

// Move makes a VM's port ready to move to host, or with an empty host to stay where it
// is. Nothing else of the port changes, whatever others change of it at the same time.
//
//	error: ErrNotFound; as Apply otherwise
func (s *Store) Move(ctx context.Context, port, host string) (Result, error) {
	return s.edit(ctx, port, func(p *model.Port) error {
		p.MigrateTo = host
		return nil
	})
}

// Arrive ends the move of a VM's port: host becomes its host, and migrateTo is
// absent again. Both change together, and only if the port is about to move to
// host: a report that comes late, or twice, changes nothing.
//
//	error: ErrNotFound; ErrNotMoving; as Apply otherwise
func (s *Store) Arrive(ctx context.Context, port, host string) (int64, error) {
	r, err := s.edit(ctx, port, func(p *model.Port) error {
		if p.MigrateTo == "" || p.MigrateTo != host {
			return fmt.Errorf("%s: host %s: %w", p.Ref(), host, ErrNotMoving)
		}
		p.Host, p.MigrateTo = host, ""
		return nil
	})
	return r.Revision, err
}

// edit changes a port as do says, which is called with a copy of the port as it is: again
// if another change came between.
func (s *Store) edit(ctx context.Context, port string, do func(*model.Port) error) (Result, error) {
	p, err := s.change(ctx, false, func(b *base) (*plan, error) {
		old := b.state.Ports[port]
		if old == nil {
			return nil, fmt.Errorf("%s: %w", model.Ref{Kind: model.KindPort, Name: port}, ErrNotFound)
		}
		now := model.Clone(old)
		if err := do(now); err != nil {
			return nil, err
		}
		return s.planEdit(b, old, now)
	})
	if err != nil {
		return Result{}, err
	}
	return p.result, nil
}

// planEdit is the plan to put now in old's place.
func (s *Store) planEdit(b *base, old, now model.Object) (*plan, error) {
	ref := now.Ref()
	p := &plan{next: b.state.Clone()}
	p.next.Set(now)
	if ps := model.Validate(p.next, []model.Ref{ref}); len(ps) > 0 {
		return nil, ps
	}
	p.result.Objects = []model.Object{now}
	if model.Equal(old, now) {
		p.result.Unchanged = []model.Ref{ref}
		return p, nil
	}
	value, err := model.EncodeJSON(now)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	p.ops = []clientv3.Op{clientv3.OpPut(s.objectKey(ref), string(value))}
	p.result.Updated = []model.Ref{ref}
	return p, nil
}
