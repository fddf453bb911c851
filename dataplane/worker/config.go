package worker

import (
	"fmt"
	"sync/atomic"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/overlay"
	"baton/dataplane/pipeline"
)

// Defaults and limits of Config.
const (
	DefaultSpin     = 50 * time.Microsecond  // a guest that answers at once needs no wake-up (about 5 to 50 us)
	MaxSpin         = 2 * time.Millisecond   // the same after as much work
	DefaultPoll     = 200 * time.Microsecond // latency of a port that cannot wake anybody
	DefaultMaxPoll  = time.Millisecond       // the same after it was silent for long
	DefaultPunts    = 256                    // frames
	DefaultHandoffs = 1024                   // packets: 32 bursts for one worker's turn of a few microseconds
	MaxWorkers      = 64
	PulseEvery      = 100 * time.Millisecond // see Config.Pulse
	MaxPorts        = 1024
	MaxQueues       = 64 // of one port; a power of two
)

// Config says how a Pool works. Zero durations and sizes mean the default.
type Config struct {
	Workers  int   // number of poll loops, 1 to MaxWorkers
	CPUs     []int // CPU of each worker; nil = not pinned
	Unlocked bool  // do not bind each worker to an OS thread; needs CPUs nil

	Source   buf.Source         // packet buffers
	Pipeline *pipeline.Pipeline // rules
	Endpoint *overlay.Endpoint  // tunnel end point; nil = this host has no overlay

	BusyPoll bool          // never sleep
	Spin     time.Duration // idle time polled at full speed before a worker thinks of sleeping
	Poll     time.Duration // longest sleep while some port must be polled
	MaxPoll  time.Duration // to which Poll backs off while nothing comes

	// Seed is that of the flows' hashes, by which a flow is sent to one of a port's queues and its
	// tunnel's source port is chosen; 0: a random one. Workers that take over from others' have theirs
	// (Pool.Seed), so that flows stay where they are.
	Seed uint64

	// Aside keeps the workers off CPUs until Pool.Place, if the process may use others: there another
	// process' workers run, from which these take over.
	Aside bool

	// Thread is called by each worker on its own OS thread before it touches any port, and what it
	// returns when it has let go of all: a lease of life (upgrade/lease) is held so. nil: nothing is
	// called; not with Unlocked.
	Thread func(worker int) (end func(), err error)

	// Pulse is where each worker counts its iterations, for another process to see that it lives;
	// it then sleeps for PulseEvery at the most. nil: nowhere.
	Pulse func(worker int) *atomic.Uint64

	Punts    int // frames that may wait for the control plane
	Handoffs int // packets that may wait between two workers, rounded up to a power of two

	MaxFlows   int // entries of each worker's megaflow cache; 0 = the cache's default
	MicroFlows int // entries of each worker's exact-match cache; 0 = the cache's default
}

// withDefaults is c with the defaults filled in.
//
//	error: names the key that is wrong and what it may be
func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.Spin, DefaultSpin}, {&c.Poll, DefaultPoll}, {&c.MaxPoll, DefaultMaxPoll}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.Punts == 0 {
		c.Punts = DefaultPunts
	}
	if c.Handoffs == 0 {
		c.Handoffs = DefaultHandoffs
	}
	c.MaxPoll = max(c.MaxPoll, c.Poll)
	switch {
	case c.Workers < 1 || c.Workers > MaxWorkers:
		return c, fmt.Errorf("workers: %d: want 1 to %d", c.Workers, MaxWorkers)
	case len(c.CPUs) != 0 && len(c.CPUs) != c.Workers:
		return c, fmt.Errorf("workers: %d CPUs for %d workers: name one for each, or none", len(c.CPUs), c.Workers)
	case len(c.CPUs) != 0 && c.Unlocked:
		return c, fmt.Errorf("workers: CPUs are named, but workers are not to be bound to threads: choose one")
	case c.Source == nil || c.Pipeline == nil:
		return c, fmt.Errorf("workers: no buffer pool or no pipeline was given")
	case c.Spin < 0 || c.Poll < 0 || c.Punts < 0 || c.MaxFlows < 0:
		return c, fmt.Errorf("workers: a time or size is negative: want 0 for the default, or more")
	case c.Handoffs < 2*buf.Burst || c.Handoffs > 1<<20:
		return c, fmt.Errorf("workers: hand-off rings of %d packets: want %d to %d", c.Handoffs, 2*buf.Burst, 1<<20)
	}
	return c, nil
}
