// Package store keeps the logical network in etcd: an embedded server by
// default, a cluster when there are endpoints.
//
//	PREFIX/generation             bumped by each change of objects: the guard of all transactions
//	PREFIX/objects/KIND/NAME      an object as JSON: what the user wrote and the ids allocated for it
//	PREFIX/learned/host/NAME      what a host's agent reported that outlives its session (JSON)
//	PREFIX/live/host/NAME         a host's session (JSON), under the lease of the controller that holds it
//
//	func Open(ctx context.Context, cfg Config) (*Store, error)
//	func (s *Store) Apply(ctx context.Context, docs []model.Document, opts ApplyOptions) (Result, error)
//	func (s *Store) Delete(ctx context.Context, refs []model.Ref) (revision int64, err error)
//	func (s *Store) Snapshot(ctx context.Context) (*Snapshot, error)
//	func (s *Store) Watch(ctx context.Context, from *Snapshot) <-chan Event
//	func (s *Store) SetHostStatus(ctx context.Context, host string, st model.HostState) error
//	func (s *Store) ClearHostStatus(ctx context.Context, host string) error
//	func (s *Store) Health() Health
//	func (s *Store) Client() *clientv3.Client
//	func (s *Store) Close() error
//
// Apply and Delete read the network, check the network that would result
// (model.Validate) and write with the guard that generation has not moved; on a
// conflict they start again, a bounded number of times. So changes are all or
// nothing and ids never clash. Who writes objects with other means must bump
// generation in the same transaction.
//
// Values in etcd are not trusted: what cannot be read as an object of the right
// kind and name is skipped and named.
//
// All methods may be called from any goroutine.
package store
