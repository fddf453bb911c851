package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"baton/bench/gen"
	"baton/bench/machine"
	"baton/bench/report"
	"baton/bench/suite"
	"baton/bench/topology"
)

// shots are runs of our generator against one system: what its packets say of themselves is
// the result, at rates that differ from one to the next.
type shots struct {
	b   *Bench
	rig *suite.Rig
}

// What comes before and after a shot, and how long nothing polls then: ordinary threads, which
// get a hundredth beside pollers, do what they have put off. There is nothing to wait for.
const (
	shotWarm  = 50 * time.Millisecond
	shotDrain = 20 * time.Millisecond
	shotRest  = 50 * time.Millisecond
)

// local is a plan of one VM that sends to another of its host, in frames that our generator
// makes.
func local(flows int, size report.Size) Plan {
	from, to := topology.VM1, topology.VM2
	p := Plan{VMs: []topology.VM{from, to}, NIC: sinkNIC, Flows: []string{ovsLocal(from, to), ovsLocal(to, from)}, Numbered: true}
	p.Load.Streams = []gen.Stream{stream(from, to, flows, size)}
	return p
}

// eachSystem starts baton and each peer in turn for a plan and has f shoot at it. What
// cannot do the plan is told and left out.
func (b *Bench) eachSystem(ctx context.Context, c report.Case, p Plan, f func(s shots) error) error {
	for _, name := range append([]string{report.Baton}, b.Peers...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := b.Rig(name, p)
		var unable unableError
		if errors.As(err, &unable) {
			fmt.Fprintf(b.Log, "%s: left out: %v\n", c, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s, %s: %w", name, c, err)
		}
		if err := errors.Join(f(shots{b, r}), r.Close()); err != nil {
			return fmt.Errorf("%s, %s: %w", name, c, err)
		}
	}
	return nil
}

// shoot has the generator do a stream for a time; the system runs meanwhile only. n is what
// the system counted, the warm-up included.
func (s shots) shoot(st gen.Stream, length time.Duration) (r *gen.Result, n suite.Counts, err error) {
	if err := s.rig.System.Resume(); err != nil {
		return nil, n, err
	}
	// A paused system answers nothing.
	defer func() { err = errors.Join(err, s.rig.System.Pause()) }()
	before, err := s.rig.System.Counts()
	if err != nil {
		return nil, n, err
	}
	r, err = s.rig.Load.(*genLoad).gen.Run(gen.Load{Streams: []gen.Stream{st}, WarmUp: shotWarm, Drain: shotDrain}, length)
	if err != nil {
		return nil, n, err
	}
	after, err := s.rig.System.Counts()
	time.Sleep(shotRest)
	return r, after.Since(before), err
}

// state is the machine's now.
func (s shots) state() (machine.State, error) {
	d, err := machine.Latency(s.b.DUTCPU, s.b.LoadCPU)
	return machine.StateOf(d), err
}

// lossPart is the part of the packets that were due and could have been sent that did not
// arrive: what the system's rings had no room for is among them, what the generator was too
// late for is not.
func lossPart(n gen.StreamResult) float64 {
	due := n.Sent + n.Refused
	if due == 0 {
		return 1
	}
	return 1 - float64(min(n.Received, due))/float64(due)
}

// mostLate is the part of the due packets that the generator may be late for before it, not
// the system, counts as what ended a search.
const mostLate = 0.02

// busy is the part of a shot that the system was busy in.
func (s shots) busy(n suite.Counts, length time.Duration) float64 {
	return min(1, float64(n.Busy)/float64(s.b.Hz)/(shotWarm+length).Seconds())
}

// found is what a search found.
type found struct {
	rate    float64 // packets a second, as it was achieved
	cycles  float64 // a packet, of the system's, at that rate
	busy    float64 // part of the system's time
	limited bool    // the generator could send no faster
}

// search finds the highest rate of a stream at which no more than a part is lost.
func (s shots) search(ctx context.Context, st gen.Stream, part float64) (f found, err error) {
	st.Rate = 0
	open, _, err := s.shoot(st, s.b.Length)
	if err != nil {
		return f, err
	}
	tried := map[float64]found{} // by the rate that was asked for; the longest trials come last
	search := suite.Search{Max: 1.1 * open.Streams[0].Rate, Length: s.b.Length, Try: func(rate float64, length time.Duration) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		st.Rate = rate
		r, n, err := s.shoot(st, length)
		if err != nil {
			return false, err
		}
		got := r.Streams[0]
		tried[rate] = found{rate: got.Rate, cycles: float64(n.Busy) / float64(max(1, n.Rx)), busy: s.busy(n, length), limited: got.Rate < (1-mostLate)*rate}
		return lossPart(got) <= part, nil
	}}
	if search.Max == 0 {
		return f, errors.New("nothing can be sent: the system takes no packets")
	}
	best, err := search.Run()
	return tried[best.Rate], err
}

// shotTrial makes one trial of a case of f, which sets Mpps, Cycles, Busy and Limited, and
// adds it to the report.
func (s shots) shotTrial(c report.Case, run int, f func(t *report.Trial) error) error {
	var t report.Trial
	j := suite.Trial{System: s.rig.System.Name(), Run: run}
	var err error
	if j.Before, err = machine.Latency(s.b.DUTCPU, s.b.LoadCPU); err != nil {
		return err
	}
	begin, stolen := time.Now(), machine.Stolen()
	if err := f(&t); err != nil {
		return err
	}
	j.Length, j.Stolen = time.Since(begin), machine.Stolen()-stolen
	if j.After, err = machine.Latency(s.b.DUTCPU, s.b.LoadCPU); err != nil {
		return err
	}
	j.Mpps, j.Cycles, j.BusyPart, j.Packets = t.Mpps, t.Cycles, t.Busy, uint64(t.Mpps*1e6)
	j.Judge()
	j.Limited = t.Limited
	s.b.Add(j.Report(c))
	return nil
}
