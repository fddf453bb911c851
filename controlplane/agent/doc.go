// Package agent is the host's side of OpenFlow-lite. It connects to a
// controller, applies what the controller sends to a Target (the dataplane), and
// keeps what was applied, in memory and in a checkpoint on disk.
//
//	controllers ◄── session ──► work queue ──► Target.Apply, Target.Barrier
//	(first that         │             │
//	 answers)           │             └──► State ──(debounced)──► checkpoint file
//	                    └── echoes, packet-in, port status, statistics
//
// Invariants:
//   - Fail static. Losing the controller changes nothing; only a committed bundle
//     or a checkpoint at the start does.
//   - State is what the Target has: an edit enters it after Target.Apply took it.
//   - A bundle is applied whole or not at all. Its barrier is answered after
//     Target.Barrier returned.
//   - The checkpoint never delays an Apply; what is on disk is some state that
//     was applied, never a mixture.
//
// batond makes one Agent and calls Run; PacketIn and PortChanged may be called
// from any goroutine.
package agent
