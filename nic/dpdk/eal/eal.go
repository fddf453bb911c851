package eal

// #cgo pkg-config: libdpdk
// #include <stdlib.h>
// #include "eal.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/hashicorp/go-hclog"
)

// What the state of the process forbids.
var (
	ErrInitialized    = errors.New("eal: already initialised: DPDK starts once in a process")
	ErrNotInitialized = errors.New("eal: not initialised: call eal.Init first")
)

// job is a function for the EAL's thread and the place for its result.
type job struct {
	fn   func() error
	done chan error
}

var state struct {
	mu    sync.Mutex // held while the EAL starts or ends
	tried bool       // rte_eal_init was called
	jobs  chan job   // nil unless the EAL runs
	info  Info
	log   *logPipe
	pci   []string // what the EAL was started with

	devices map[string]bool // virtual and hot-plugged devices by name; the EAL's thread only
}

// Init starts DPDK, on an OS thread of its own.
//
//	error: ErrInitialized; what is wrong with opts or the machine (ErrMemory,
//	       ErrNoDevice, ErrNotBound, ErrNoInterface, ErrNoDriver), with the fix:
//	       nothing was done and Init may be called again; an Errno if DPDK itself
//	       failed: the process cannot try again
//	conc:  safe for concurrent use
func Init(opts Options) (Info, error) {
	state.mu.Lock()
	defer state.mu.Unlock()
	if state.tried {
		return Info{}, ErrInitialized
	}
	info, err := plan(opts)
	if err != nil {
		return Info{}, err
	}
	logger := opts.Logger
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	if state.log, err = openLog(logger); err != nil {
		return Info{}, err
	}
	state.tried = true
	jobs, started := make(chan job), make(chan error)
	go runEAL(info.Args, jobs, started)
	if err := <-started; err != nil {
		return Info{}, fmt.Errorf("eal: start with %d MiB, huge pages %v: %w%s",
			info.MemoryMiB, info.HugePages, err, because(state.log.collect()))
	}
	reserveLcores(append([]int{info.Lcore}, opts.Lcores...))
	state.devices = map[string]bool{}
	for _, dev := range opts.Vdevs {
		_, name, _ := splitDevice(dev)
		state.devices[name] = true
	}
	state.jobs, state.info, state.pci = jobs, info, opts.PCI
	logger.Info("DPDK started", "huge_pages", info.HugePages, "memory_mib", info.MemoryMiB, "why", info.Why, "cpu", info.Lcore)
	return info, nil
}

// runEAL is the EAL's thread: it starts DPDK and then runs jobs for ever. The
// thread is never given back to the runtime, as DPDK pinned it to one CPU.
func runEAL(args []string, jobs <-chan job, started chan<- error) {
	runtime.LockOSThread()
	// DPDK keeps pointers into argv; the copies live as long as the process.
	argv := (*[64]*C.char)(C.calloc(64, C.size_t(C.sizeof_size_t)))
	if len(args) >= len(argv) {
		started <- fmt.Errorf("%d arguments, at most %d: too many devices", len(args), len(argv)-1)
		return
	}
	for i, arg := range args {
		argv[i] = C.CString(arg)
	}
	err := AsError(int(C.baton_eal_init(C.int(len(args)), &argv[0])))
	started <- err
	if err != nil {
		select {} // the pinned thread must not go back to the runtime
	}
	for j := range jobs {
		j.done <- j.fn()
	}
	select {}
}

// Do runs fn on the EAL's thread and returns its result. DPDK's control
// functions are not safe for concurrent use; here they run one after the other,
// in the network namespace that the process started in. fn must not call Do.
//
//	error: ErrNotInitialized, else fn's own
//	conc:  safe for concurrent use
func Do(fn func() error) error {
	state.mu.Lock()
	jobs := state.jobs
	state.mu.Unlock()
	if jobs == nil {
		return ErrNotInitialized
	}
	j := job{fn: fn, done: make(chan error, 1)}
	jobs <- j
	return <-j.done
}

// Running is what the EAL runs with; false if it does not run.
func Running() (Info, bool) {
	state.mu.Lock()
	defer state.mu.Unlock()
	return state.info, state.jobs != nil
}

// Cleanup ends DPDK and gives its memory back. All ports are closed and all
// pools freed before. The process cannot start DPDK again.
//
//	error: ErrNotInitialized, what DPDK says
func Cleanup() error {
	err := Do(func() error { return AsError(int(C.baton_eal_cleanup())) })
	if errors.Is(err, ErrNotInitialized) {
		return err
	}
	state.mu.Lock()
	defer state.mu.Unlock()
	state.jobs = nil // the thread keeps waiting; nobody can reach it any more
	if err != nil {
		return fmt.Errorf("eal: cleanup: %w", err)
	}
	return nil
}

// Log writes a line to DPDK's log, by which tests see that the log arrives.
func Log(text string) error {
	return Do(func() error {
		line := C.CString(text)
		defer C.free(unsafe.Pointer(line))
		C.baton_eal_log_write(line)
		state.log.collect()
		return nil
	})
}
