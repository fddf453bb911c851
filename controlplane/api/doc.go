// Package api is the controller's management API: gRPC on a unix socket, or on
// TCP with mutual TLS. Server answers it, Client calls it.
//
//	batonctl ── Client ──► Server ──► store (Apply, Get, Delete, PortMove)
//	                          ├─────► vmc   (how far the controller is)
//	                          └─────► ofe   (how far the hosts are)
//
// What is wrong with a request comes back as a status whose details name file,
// line, object and key; Client turns it into an *Error that prints one line a
// problem. A failed Apply or Delete has changed nothing.
//
// All methods may be called from any goroutine.
package api

//go:generate sh -c "protoc --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --plugin=protoc-gen-go-grpc=$(go tool -n protoc-gen-go-grpc) --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative api.proto"
