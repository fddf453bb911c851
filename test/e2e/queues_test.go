package e2e_test

import (
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"baton/test/cluster"
	"baton/vhost/guest"
)

const (
	queuePairs = 4
	queueFlows = 64
)

// queuesRig is a host with two workers and two VMs of four queue pairs; packets
// go from one to the other, through the router.
type queuesRig struct {
	t        *testing.T
	c        *cluster.Cluster
	h        *cluster.Host
	from, to *simVM
	sent     int
}

func newQueuesRig(t *testing.T) *queuesRig {
	r := &queuesRig{t: t, c: newCluster(t)}
	startController(t, r.c, network)
	cfg := host1()
	cfg.QueuePairs, cfg.More = queuePairs, []string{"workers: {cpus: [0, 1]}"}
	r.h = startHost(t, r.c, cfg)
	must(t, r.c.WaitInStep("host1"))
	many := func(cfg *guest.Config) { cfg.QueuePairs, cfg.RingSize = queuePairs, 1024 }
	r.to, r.from = attachVM(t, r.c, r.h, vm1, many), attachVM(t, r.c, r.h, vm2, many)
	return r
}

// enable makes the receiver use its first num pairs, as ethtool -L does.
func (r *queuesRig) enable(num int) {
	r.t.Helper()
	for ring := range 2 * queuePairs {
		must(r.t, r.to.Guest.Enable(ring, ring/2 < num))
	}
}

// round sends one packet of each flow, each flow by a queue of its own choice.
func (r *queuesRig) round() {
	for flow := range queueFlows {
		r.sent++
		f := frameSpec{Src: vm2, Dst: vm1, Via: gwGreen.MAC, SrcPort: uint16(flow), DstPort: 9, ID: uint16(r.sent)}.Bytes()
		one := [][]byte{f}
		for r.from.Guest.Tx[flow%queuePairs].SendBurst(one, nil) == 0 {
			if r.c.Lab.Context().Err() != nil {
				return
			}
		}
	}
}

// arrived waits until all that was sent has arrived, and fails if not.
func (r *queuesRig) arrived(what string) {
	r.t.Helper()
	if err := r.c.Lab.WaitFor("packets: "+what, waitLimit, func() bool { return r.to.total() >= r.sent }); err != nil {
		r.t.Fatalf("%v: %d of %d arrived", err, r.to.total(), r.sent)
	}
}

// perQueue is what each of the receiver's queues got so far.
func (r *queuesRig) perQueue() (n [queuePairs]uint64) {
	r.to.pause()
	for i := range n {
		n[i] = r.to.Guest.Rx[i].Counters.Packets
	}
	r.to.run()
	return n
}

// TestQueues: four pairs are offered, the guest uses one, two, four: all arrives, in
// order, and by the queues that the guest uses.
func TestQueues(t *testing.T) {
	r := newQueuesRig(t)
	for _, num := range []int{1, 2, 4, 1} {
		r.enable(num)
		r.to.take()
		before := r.perQueue()
		for range 20 {
			r.round()
			r.arrived("each flow's")
		}
		after := r.perQueue()
		for i := range after {
			if got := after[i] - before[i]; got > 0 != (i < num) {
				t.Errorf("%d pairs used: queue %d got %d of %d", num, i, got, 20*queueFlows)
			}
		}
		last := map[uint16]uint16{}
		for _, f := range r.to.take() {
			id, flow := binary.BigEndian.Uint16(f[18:]), binary.BigEndian.Uint16(f[34:])
			if was, ok := last[flow]; ok && int16(id-was) <= 0 {
				t.Errorf("%d pairs used: flow %d: packet %d after %d", num, flow, id, was)
			}
			last[flow] = id
		}
	}
	workers, err := r.h.API.Workers(r.c.Lab.Context())
	must(t, err)
	if len(workers) != 2 || workers[0].Handoffs+workers[1].Handoffs == 0 {
		t.Errorf("two workers, and packets between them: %+v", workers)
	}
	r.changeUnderTraffic()
}

// changeUnderTraffic turns queues on and off while packets flow. None is lost:
// those that are in a queue which goes off are the guest's already.
func (r *queuesRig) changeUnderTraffic() {
	r.t.Helper()
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			r.round()
			// No more on their way than one queue holds.
			for !stop.Load() && r.sent-r.to.total() > 512 {
				runtime.Gosched()
			}
		}
	})
	for lap := range 60 {
		r.enable([]int{1, 4, 2, 1, 3}[lap%5])
	}
	stop.Store(true)
	wg.Wait()
	r.arrived("under changes")
	s, err := r.h.CheckConserved()
	must(r.t, err)
	if s.Dropped != 0 || r.to.total() != r.sent {
		r.t.Errorf("sent %d, %d arrived, dropped: %v", r.sent, r.to.total(), s.Drops)
	}
}
