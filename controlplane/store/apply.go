package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"baton/controlplane/model"
)

// maxTries bounds how often a change is planned anew because others were faster.
// Each time at least one of the others got through.
const maxTries = 16

// fanOut is how many operations one transaction holds. etcd allows 128, less
// those of the transactions around it: three levels of 42 take 42³ keys.
const fanOut = 42

// base is the network that a change starts from.
type base struct {
	state      *model.State // without the hosts' status; never changed
	generation int64        // revision of the guard
	revision   int64
	cached     bool // state is remembered, not read
}

// load is the network as it is now. While nobody else writes it costs one small read.
func (s *Store) load(ctx context.Context) (*base, error) {
	s.mu.Lock()
	cached := s.cache
	s.mu.Unlock()
	var resp *clientv3.GetResponse
	err := s.request(ctx, "read the network's generation", func(ctx context.Context) (err error) {
		resp, err = s.client.Get(ctx, s.generationKey())
		return err
	})
	if err != nil {
		return nil, err
	}
	var generation int64
	if len(resp.Kvs) > 0 {
		generation = resp.Kvs[0].ModRevision
		if v := string(resp.Kvs[0].Value); v != layout {
			return nil, fmt.Errorf("store: etcd key %s: layout %.20q, this version knows %q: use the version of baton that wrote it, or another prefix", s.generationKey(), v, layout)
		}
	}
	if cached != nil && generation != 0 && cached.generation == generation {
		return &base{cached.state, generation, resp.Header.Revision, true}, nil
	}
	snap, err := s.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	b := &base{model.NewState(), snap.generation, snap.Revision, false}
	for _, o := range snap.State.List("") {
		b.state.Set(stored(o))
	}
	return b, nil
}

// stored is the object as it is kept: without what belongs to a session.
func stored(o model.Object) model.Object {
	if h, ok := o.(*model.Host); ok && h.Status != (model.HostState{}) {
		h = model.Clone(h)
		h.Status = model.HostState{}
		return h
	}
	return o
}

// plan is a change worked out against one base.
type plan struct {
	next   *model.State
	ops    []clientv3.Op
	result Result
}

// Apply makes or replaces objects, all or none: an object that exists is
// replaced as a whole, but keeps the ids allocated for it. The documents' status
// is passed over.
//
//	error: model.Problems, with places, if the resulting network would be wrong;
//	       ErrConflict; ErrUnreachable. Unless etcd was unreachable, which leaves
//	       it open whether the change was made, nothing has changed.
func (s *Store) Apply(ctx context.Context, docs []model.Document, opts ApplyOptions) (Result, error) {
	if ps := model.Duplicates(docs); len(ps) > 0 {
		return Result{}, ps
	}
	p, err := s.change(ctx, opts.DryRun, func(b *base) (*plan, error) { return s.planApply(b, docs) })
	if err != nil {
		return Result{}, err
	}
	return p.result, nil
}

// Delete removes objects, all or none, and returns the revision at which they are gone.
//
//	error: ErrNotFound; ErrInUse, naming the users that are not deleted with them;
//	       as Apply otherwise
func (s *Store) Delete(ctx context.Context, refs []model.Ref) (int64, error) {
	p, err := s.change(ctx, false, func(b *base) (*plan, error) { return s.planDelete(b, refs) })
	if err != nil {
		return 0, err
	}
	return p.result.Revision, nil
}

// change plans and commits until no other change comes between.
func (s *Store) change(ctx context.Context, dry bool, work func(*base) (*plan, error)) (*plan, error) {
	var pause backoff
	for range maxTries {
		b, err := s.load(ctx)
		if err != nil {
			return nil, err
		}
		p, err := work(b)
		if err != nil {
			return nil, err
		}
		p.result.Revision = b.revision
		if b.cached && len(p.result.Unchanged) > 0 {
			// That nothing is to be done is only said after a look: somebody may have
			// spoilt a value by other means, and apply is what puts it right.
			s.mu.Lock()
			s.cache = nil
			s.mu.Unlock()
			continue
		}
		if dry || len(p.ops) == 0 {
			return p, nil
		}
		rev, ok, err := s.commit(ctx, b, p)
		if err != nil {
			return nil, err
		}
		if ok {
			p.result.Revision = rev
			s.mu.Lock()
			s.cache = &base{state: p.next, generation: rev}
			s.mu.Unlock()
			return p, nil
		}
		pause.wait(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("store: %w", ctx.Err())
		}
	}
	return nil, fmt.Errorf("store: %w (after %d attempts)", ErrConflict, maxTries)
}

// commit writes the plan if the network is still as it was planned for.
func (s *Store) commit(ctx context.Context, b *base, p *plan) (rev int64, ok bool, err error) {
	guard := clientv3.Compare(clientv3.ModRevision(s.generationKey()), "=", b.generation)
	ops := append(nest(p.ops), clientv3.OpPut(s.generationKey(), layout))
	err = s.request(ctx, "write the network", func(ctx context.Context) error {
		resp, err := s.client.Txn(ctx).If(guard).Then(ops...).Commit()
		if err == nil {
			rev, ok = resp.Header.Revision, resp.Succeeded
		}
		return err
	})
	if errors.Is(err, rpctypes.ErrRequestTooLarge) || errors.Is(err, rpctypes.ErrTooManyOps) {
		err = fmt.Errorf("%w: %d objects are too much for one request to this etcd: apply fewer at once, or raise its --max-request-bytes", err, len(p.ops))
	}
	return rev, ok, err
}

// nest wraps operations in transactions inside the transaction, so that no level
// has more than fanOut of them.
func nest(ops []clientv3.Op) []clientv3.Op {
	for len(ops) > fanOut {
		var outer []clientv3.Op
		for len(ops) > 0 {
			n := min(fanOut, len(ops))
			outer = append(outer, clientv3.OpTxn(nil, ops[:n:n], nil))
			ops = ops[n:]
		}
		ops = outer
	}
	return ops
}

func (s *Store) planApply(b *base, docs []model.Document) (*plan, error) {
	p := &plan{next: b.state.Clone()}
	refs := make([]model.Ref, len(docs))
	objects := make([]model.Object, len(docs))
	var ps model.Problems
	for i := range docs {
		refs[i] = docs[i].Object.Ref()
		o, problem := inherit(docs[i].Object, b.state.Get(refs[i]))
		if problem != "" {
			ps = append(ps, model.Problem{Ref: refs[i], Field: "router", Text: problem})
		}
		objects[i] = o
		p.next.Set(o)
	}
	ps = append(ps, allocate(p.next, objects)...)
	ps = append(ps, model.Validate(p.next, refs)...)
	if len(ps) > 0 {
		return nil, ps.Locate(docs)
	}
	for i, o := range objects {
		old := b.state.Get(refs[i])
		switch {
		case old == nil:
			p.result.Created = append(p.result.Created, refs[i])
		case model.Equal(old, o):
			p.result.Unchanged = append(p.result.Unchanged, refs[i])
			continue
		default:
			p.result.Updated = append(p.result.Updated, refs[i])
		}
		value, err := model.EncodeJSON(o)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		p.ops = append(p.ops, clientv3.OpPut(s.objectKey(refs[i]), string(value)))
	}
	p.result.Objects = objects
	return p, nil
}

func (s *Store) planDelete(b *base, refs []model.Ref) (*plan, error) {
	p := &plan{next: b.state.Clone()}
	going := map[model.Ref]bool{}
	for _, r := range refs {
		going[r] = true
	}
	var missing, used []error
	for _, r := range refs {
		if p.next.Get(r) == nil && b.state.Get(r) != nil {
			continue // named twice
		}
		if b.state.Get(r) == nil {
			missing = append(missing, fmt.Errorf("%s: %w", r, ErrNotFound))
			continue
		}
		var users []string
		for _, u := range b.state.Users(r) {
			if !going[u] {
				users = append(users, u.String())
			}
		}
		if len(users) > 0 {
			used = append(used, fmt.Errorf("%s: %w by %s; delete these first", r, ErrInUse, few(users)))
		}
		p.next.Remove(r)
		p.ops = append(p.ops, clientv3.OpDelete(s.objectKey(r)))
		if r.Kind == model.KindHost {
			p.ops = append(p.ops, clientv3.OpDelete(s.learnedKey(r.Name)), clientv3.OpDelete(s.liveKey(r.Name)))
		}
	}
	return p, errors.Join(append(missing, used...)...)
}

// few lists at most ten names.
func few(all []string) string {
	const most = 10
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}
