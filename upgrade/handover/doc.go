// Package handover is the conversation by which a process gives all its ports to the
// next one, or takes them back when something is in the way.
//
//	giver                                                  taker
//	  | offer, answer (package wire)                         |
//	  | sections to begin with; begin                      > | makes its gates
//	  | <                                               ready |
//	  | for each port: its state; prepare                  > | restores and maps, suspended
//	  | <                                            prepared |
//	  | for each port: hold                                > | relay.Gate.Hold
//	  | <                                                held |
//	  |   relay.Gate.Give                                    |   relay.Gate.Take
//	  | <                                               taken |
//	  | beat, while it waits for the next one              > | its workers move
//	  | <                                                beat |
//	  | steer                                              > | traffic of the wire goes to its NIC, and waits
//	  | <                                             steered |
//	  |   what its own NIC had is through                    |
//	  | pass, while peers learn one after the other        > | what waited at the last pass goes on
//	  | <                                              passed |
//	  | open                                               > | what waits goes on
//	  | <                                              opened |
//	  | sections to end with; commit                       > | all is its own
//	  | <                                           committed |
//	  | ends                                                 |
//
// The giver alone decides. Whatever goes wrong before committed, it takes the ports back: by
// hold and give the other way round while the taker answers, and when it does not by
// ending it, seeing it gone, and Seize. A taker whose giver is gone goes on by itself
// with what it was given; one that hangs when a port has gone is ended.
//
// Invariants: each request is answered once (hold twice: held, taken), with an error or
// without; after begin and until it has committed or was called off, a port's session is
// served by nobody, its messages wait. The giver keeps every descriptor until the end.
//
// Callers: cmd/batond, which joins this with the owners of what is handed over.
package handover
