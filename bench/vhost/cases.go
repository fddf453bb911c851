package main

import (
	"fmt"

	"baton/bench/report"
)

// direction is what a case moves.
type direction string

const (
	dequeue direction = "dequeue"
	enqueue direction = "enqueue"
	both    direction = "both"
)

var directions = []direction{dequeue, enqueue, both}

// formats of rings; a session has one.
var formats = []string{"split", "packed"}

// testCase is one row of the table.
type testCase struct {
	format string
	dir    direction
	size   int // bytes of a frame
}

func (c testCase) String() string { return fmt.Sprintf("%s %s %d", c.format, c.dir, c.size) }

// report is the case as reports have it: nothing looks at flows.
func (c testCase) report() report.Case {
	return report.Case{Scenario: c.format + " " + string(c.dir), Size: report.Size(c.size)}
}

// counts is what a back end counted in a trial.
type counts struct {
	Rx   uint64 `json:"rx"`      // frames received, or generated
	Tx   uint64 `json:"tx"`      // frames that the VM's ring took
	Drop uint64 `json:"dropped"` // frames that it had no room for
	Busy uint64 `json:"busy"`    // cycles of polls that moved packets
}

// backend is one system's back end, in a process of its own.
type backend interface {
	// joined waits until the VM's rings run.
	joined() error
	// start has the back end poll; stop ends that.
	start(d direction, size int) error
	stop() (counts, error)
	// pid is the process and poller the thread that polls.
	pid() int
	poller() int
	close() error
}
