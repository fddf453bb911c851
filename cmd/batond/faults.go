//go:build faults

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/dataplane/worker"
	"baton/nic/dpdk/crash"
)

// faulty has this process fail as it is told on the socket state_dir/faults-PID: "WHERE WHAT" with
// a place and a name in faults. A build for tests of crashes has it, and no other.
func (h *host) faulty() {
	log := h.loggers.root
	path := filepath.Join(h.settings.StateDir, fmt.Sprintf("faults-%d", os.Getpid()))
	_ = os.Remove(path) // of an earlier process with this number
	l, err := net.Listen("unix", path)
	if err != nil {
		log.Error("cannot be told to fail", "error", err)
		return
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				log.Error("cannot be told to fail any more", "error", err)
				return
			}
			what, _ := io.ReadAll(c)
			c.Close()
			log.Warn("failing as told", "what", string(what))
			if err := h.fail(string(what)); err != nil {
				log.Error("does not fail", "error", err)
			}
		}
	}()
}

// fail does what it is told.
//
//	error: no such place or fault
func (h *host) fail(told string) error {
	where, what, _ := strings.Cut(told, " ")
	f := faults[what]
	switch {
	case f == nil:
		return fmt.Errorf("no fault %q", what)
	case where == "control":
		go f()
	case where == "worker":
		return h.pool.AddPort(faultyPort{f}, worker.PortOptions{})
	case where == "thread" && what == "c":
		return crash.FaultOnThread()
	default:
		return fmt.Errorf("no place %q for it", where)
	}
	return nil
}

// faults by name.
var faults = map[string]func(){
	"c":     crash.Fault,
	"nil":   func() { nobody.Name() },
	"panic": func() { panic("told to") },
	"endless": func() {
		for {
		}
	},
	// Until the kernel kills the process, or a test gives up.
	"memory": func() {
		for {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			hoard = append(hoard, b)
		}
	},
}

var (
	nobody *faultyPort // nil
	hoard  [][]byte
)

// faultyPort fails when a worker polls it. It is its own queue.
type faultyPort struct{ fault func() }

func (p faultyPort) Name() string                     { return "faulty" }
func (p faultyPort) Kind() port.Kind                  { return port.KindMem }
func (p faultyPort) NumQueues() int                   { return 1 }
func (p faultyPort) Queue(int) port.Queue             { return p }
func (p faultyPort) Info() port.Info                  { return port.Info{Up: true} }
func (p faultyPort) Close() error                     { return nil }
func (p faultyPort) Attach(port.Waker)                {}
func (p faultyPort) Arm() port.Armed                  { return port.ArmReady }
func (p faultyPort) Disarm()                          {}
func (p faultyPort) Tx(*buf.Cache, *buf.Vec, int) int { return 0 }

func (p faultyPort) Rx(*buf.Cache, *buf.Vec) int {
	p.fault()
	return 0
}
