package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"baton/controlplane/model"
)

// pageSize is how many keys one read takes: some hundred kilobytes.
const pageSize = 1000

// Snapshot reads the whole network at one revision.
func (s *Store) Snapshot(ctx context.Context) (*Snapshot, error) {
	return s.read(ctx, 0)
}

// read is Snapshot at a revision, the newest if it is 0.
func (s *Store) read(ctx context.Context, rev int64) (*Snapshot, error) {
	v := newView(s.cfg.Prefix)
	snap := &Snapshot{view: v, State: v.state, Revision: rev}
	key, end := s.cfg.Prefix+"/", clientv3.GetPrefixRangeEnd(s.cfg.Prefix+"/")
	for {
		var resp *clientv3.GetResponse
		err := s.request(ctx, "read the network", func(ctx context.Context) (err error) {
			resp, err = s.client.Get(ctx, key, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(snap.Revision))
			return err
		})
		if err != nil {
			return nil, err
		}
		if snap.Revision == 0 {
			snap.Revision = resp.Header.Revision
		}
		snap.cluster = resp.Header.ClusterId
		edits := make([]edit, 0, len(resp.Kvs))
		for _, kv := range resp.Kvs {
			if string(kv.Key) == s.generationKey() {
				snap.generation = kv.ModRevision
			}
			edits = append(edits, edit{string(kv.Key), present(kv.Value)})
		}
		_, skipped := v.apply(edits)
		snap.Skipped = append(snap.Skipped, skipped...)
		if !resp.More {
			return snap, nil
		}
		key = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// List is the objects of a kind by name, all if k is empty, as they are now.
func (s *Store) List(ctx context.Context, k model.Kind) ([]model.Object, error) {
	snap, err := s.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return snap.State.List(k), nil
}

// present is the value of a key that is there: never nil, even if it is empty.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}
