// Package guestwire is what the lab and the agent inside a guest say to each
// other over a serial port: one JSON value a line, both ways.
//
//	lab                                   guestinit (pid 1 of the guest)
//	 |  <-- Response{ID: 0, Result: Hello} --  |   once it is ready, after each boot
//	 |  --- Request{ID: 7, Op: "ping", ...} -> |
//	 |  <-- Response{ID: 7, Result: ...} ----  |   in any order
//
// Requests run at the same time as others; responses carry the request's ID.
// A line that is no JSON is noise of the serial port and is skipped.
package guestwire
