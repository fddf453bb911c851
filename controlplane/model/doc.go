// Package model is the logical network as users write it: hosts, switches,
// routers, ports and routes; their YAML and JSON, their defaults, and the rules
// that a network must keep.
//
//	Host ◄──host── Port ──switch──► Switch
//	                │
//	                └──router──► Router ◄──router── Route
//
// A Port without a router is a VM's: it has an address and a place (host). A
// Port with a router joins that router to its switch and has an address with the
// length of its subnet.
//
// One document has the keys kind and name, the kind's own keys, and a status
// block that baton fills in and that apply passes over:
//
//	kind: Port
//	name: vm1
//	switch: blue
//	ip: 10.0.1.11
//	host: host1
//
// Parse reads documents and keeps the line of each key; Validate checks a whole
// network, after the change in question; what it finds are Problems, all of them
// at once, in a fixed order, each with file and line where there is a file.
// EncodeYAML and EncodeJSON write what Parse reads.
//
// Invariants: an object that is part of a State is never changed, only replaced,
// so that states and watchers can share it. Everything here is pure; nothing
// locks, nothing does I/O.
//
// store keeps objects in etcd, compile turns a State into rules, api and batonctl
// carry documents.
package model
