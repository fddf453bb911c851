// Package hostapi is what a host tells its operator: batond answers questions
// about its ports, flows, rules, counters and vhost sessions on a unix socket.
//
//	batonctl dataplane ... --> Client --HTTP over unix socket--> Server --> Source (batond)
//
// The answers are JSON documents of the types here, so that curl
// --unix-socket does as well as batonctl. They are copies: asking never stops a
// worker. A Source that is an Upgrader also takes orders: to hand the host's ports over
// to a new process, which goes on answering on the same socket (Listener, Leave, ServeOn).
//
// The socket is for the host's administrators (mode 0660); nothing that
// a guest sends reaches it.
package hostapi
