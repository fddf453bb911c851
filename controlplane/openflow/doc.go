// Package openflow is OpenFlow-lite: what a controller and a host say to each
// other, over one gRPC stream that the host opens.
//
//	host                                   controller
//	 | Hello versions, host, digest ---------> |
//	 | <--------------------------- HelloReply |   or Error, and the stream ends
//	 | <-------------------------DigestRequest |   only if the digests differ
//	 | DigestReply (1024 buckets) -----------> |
//	 | <------------------------ BucketRequest |   only the buckets that differ
//	 | BucketReply (ids and hashes) ---------> |
//	 | <-- BundleBegin, RuleBatch..., Commit    |   only the entries that differ
//	 | <----------------------- BarrierRequest |
//	 | BarrierReply (digest) ----------------> |   no packet by an old rule from here on
//	 | PacketIn, PortStatus -----------------> |   at any time
//	 | <------------- StatsRequest, Echo ----> |
//
// Three parts: the messages (openflow.proto, generated), the codec between them
// and the dataplane's vocabulary (rules, bindings, neighbours), and State, a set
// of entries with the digest that both sides compare.
//
// Invariants: what the codec accepts encodes to the same message again; bytes
// from the other side never panic; nothing of a bundle is applied before its
// commit has come and its count of batches is right. The digest depends on the
// entries only, not on their order, nor on how Go lays them out in memory.
//
// The codec's functions are pure. A State belongs to one goroutine or to a lock
// of its owner. agent uses this package on the host, ofe in the controller.
package openflow

//go:generate sh -c "protoc --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --plugin=protoc-gen-go-grpc=$(go tool -n protoc-gen-go-grpc) --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative openflow.proto"
