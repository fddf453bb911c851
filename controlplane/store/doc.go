// Package store keeps the logical network in etcd: an embedded server by
// default, a cluster when there are endpoints.
//
//	PREFIX/generation             bumped by each change of objects: the guard of all transactions
//	PREFIX/objects/KIND/NAME      an object as JSON: what the user wrote and the ids allocated for it
//	PREFIX/learned/host/NAME      what a host's agent reported that outlives its session (JSON)
//	PREFIX/live/host/NAME         a host's session (JSON), under the lease of the controller that holds it
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
// Three goroutines run: runProbe asks etcd for a sign of life, runLease keeps the
// hosts' status alive once there is one, and each Watch has its own. Lock order:
// sessions.mu, then Store.mu.
//
// Called by vmc (Snapshot, Watch), ofe (SetHostStatus) and api (the rest).
//
// All methods may be called from any goroutine.
package store
