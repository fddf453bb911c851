// Package ofe holds the controller's sessions with the hosts. For each host of
// the network it has the state that is wanted there, and brings the host to it.
//
//	vmc ── SetHost, Update, RemoveHost ──► host{wanted State, dirty entries}
//	                                          │ one session at a time
//	agent ◄── reconcile, then dirty entries ──┘
//
// A session begins with a reconciliation: equal digests send nothing; else only
// entries that differ. Then it sends what became dirty, one bundle and its
// barrier at a time. While a bundle is under way further changes only mark
// entries as dirty, so that a slow host gets fewer and larger bundles and delays
// no one: each host has its own lock and its own goroutines.
//
// A host with a pair of VTEPs asks for the others to send to one of them (SteerRequest). That is
// written as the host's status, comes back by vmc as rules of the others, and is answered when
// they have applied those.
//
// Invariants: a host is told nothing before its whole wanted state is known
// (Ready, SetHost); after each barrier the host's digest is compared with the
// one it must have, and a difference starts a reconciliation; an entry that
// changed is dirty until a bundle with it was answered, or a reconciliation
// that began later has ended.
//
// Lock order: Server.mu, then host.mu. No lock is held while a message is sent.
package ofe
