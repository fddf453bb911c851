// Package e2e has the end-to-end tests: the programs in bin/, on hosts of
// test/cluster, with real guests and with simulated ones. It has no code of its
// own.
//
//	simulated VM ──vhost-user── batond ──Geneve── bridge ──┬── batond ── VM
//	testpmd (net_virtio_user)   batond                     ├── Open vSwitch
//	QEMU guest                  batond                     └── raw socket
//
// Invariants, checked after every test by the helpers in harness_test.go:
//   - a host's books balance: received + generated = sent + dropped, nothing held;
//   - packet buffers are back where they were before VMs came;
//   - no process ended by itself, and the lab leaves nothing behind.
//
// The tests need root and bin/ (make build), and run one after the other: they
// share the machine's cores and huge pages.
package e2e
