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

// shooters starts baton and each peer for a plan and has f shoot at them, in turns.
func (b *Bench) shooters(ctx context.Context, c report.Case, p Plan, f func(all []shots) error) error {
	return b.withRigs(ctx, c, p, func(rigs []*suite.Rig) error {
		var all []shots
		for _, r := range rigs {
			all = append(all, shots{b, r})
		}
		if err := f(all); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		return nil
	})
}

// inTurns has f shoot at each system b.Runs times.
func (b *Bench) inTurns(ctx context.Context, all []shots, f func(i int, s shots, run int) error) error {
	for run := range b.Runs {
		for i, s := range all {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(i, s, run); err != nil {
				return fmt.Errorf("%s: %w", s.rig.System.Name(), err)
			}
		}
	}
	return nil
}

// shot is what came of one.
type shot struct {
	*gen.Result
	system suite.Counts  // the warm-up included
	waited time.Duration // of the system's pollers, for their CPUs
}

// shoot has the generator do a stream for a time; the system runs meanwhile only.
func (s shots) shoot(ctx context.Context, st gen.Stream, length time.Duration) (got shot, err error) {
	if err := s.rig.System.Resume(); err != nil {
		return got, err
	}
	// A paused system answers nothing.
	defer func() { err = errors.Join(err, s.rig.System.Pause()) }()
	before, err := s.rig.System.Counts()
	if err != nil {
		return got, err
	}
	start := s.rig.Waited()
	got.Result, err = s.rig.Load.(*genLoad).gen.Run(ctx, gen.Load{Streams: []gen.Stream{st}, WarmUp: shotWarm, Drain: shotDrain}, length)
	if err != nil {
		return got, err
	}
	got.waited = s.rig.Waited() - start
	after, err := s.rig.System.Counts()
	got.system = after.Since(before)
	time.Sleep(shotRest)
	return got, err
}

// state is the machine's now.
func (s shots) state() (machine.State, error) {
	d, err := machine.Latency(s.b.DUTCPU, s.b.LoadCPU)
	return machine.StateOf(d), err
}

// steadyTries is how often a shot is made until the machine's state is the same before and
// after it.
const steadyTries = 3

// steady shoots in one state of the machine. One that changes each time is not known: then
// the state is empty.
func (s shots) steady(ctx context.Context, st gen.Stream) (r shot, state machine.State, err error) {
	for range steadyTries {
		before, err := s.state()
		if err != nil {
			return r, "", err
		}
		if r, err = s.shoot(ctx, st, s.b.Length); err != nil {
			return r, "", err
		}
		if state, err = s.state(); err != nil || state == before {
			return r, state, err
		}
	}
	return r, "", nil
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

// A trial of a search that lost too many packets while the system's pollers waited for their
// CPUs for so long that the packets of that time fill half a ring says nothing about the
// system: it is made again, so many times in all.
const maxTries = 4

// disturbed tells whether that was so.
func disturbed(waited time.Duration, rate float64) bool {
	return waited.Seconds()*rate > ringSize/2
}

// busy is the part of a shot that the system was busy in.
func (s shots) busy(r shot, length time.Duration) float64 {
	return min(1, float64(r.system.Busy)/float64(s.b.Hz)/(shotWarm+length).Seconds())
}

// cycles are the system's for a packet.
func (r shot) cycles() float64 { return float64(r.system.Busy) / float64(max(1, r.system.Rx)) }

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
	open, err := s.shoot(ctx, st, s.b.Length)
	if err != nil {
		return f, err
	}
	tried := map[float64]found{} // by the rate that was asked for; the longest trials come last
	search := suite.Search{Max: 1.1 * open.Streams[0].Rate, Length: s.b.Length, Try: func(rate float64, length time.Duration) (bool, error) {
		st.Rate = rate
		for try := 1; ; try++ {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			r, err := s.shoot(ctx, st, length)
			if err != nil {
				return false, err
			}
			got := r.Streams[0]
			tried[rate] = found{rate: got.Rate, cycles: r.cycles(), busy: s.busy(r, length), limited: got.Rate < (1-mostLate)*rate}
			good := lossPart(got) <= part
			if good || try == maxTries || !disturbed(r.waited, rate) {
				return good, nil
			}
		}
	}}
	if search.Max == 0 {
		return f, errors.New("nothing can be sent: the system takes no packets")
	}
	best, err := search.Run()
	return tried[best.Rate], err
}

// shotTrial makes one trial of a case of f, which sets Mpps, Cycles, Busy and Limited, and
// adds it to the report. One that is discarded is made once more.
func (s shots) shotTrial(c report.Case, run int, f func(t *report.Trial) error) error {
	for range 2 {
		j, err := s.judged(run, f)
		if err != nil {
			return err
		}
		if s.b.Add(j.Report(c)); j.Discarded == "" {
			break
		}
	}
	return nil
}

// judged makes one trial of f.
func (s shots) judged(run int, f func(t *report.Trial) error) (j suite.Trial, err error) {
	var t report.Trial
	j = suite.Trial{System: s.rig.System.Name(), Run: run}
	if j.Before, err = machine.Latency(s.b.DUTCPU, s.b.LoadCPU); err != nil {
		return j, err
	}
	begin, stolen := time.Now(), machine.Stolen()
	if err = f(&t); err != nil {
		return j, err
	}
	j.Length, j.Stolen = time.Since(begin), machine.Stolen()-stolen
	if j.After, err = machine.Latency(s.b.DUTCPU, s.b.LoadCPU); err != nil {
		return j, err
	}
	j.Mpps, j.Cycles, j.BusyPart, j.Packets = t.Mpps, t.Cycles, t.Busy, uint64(t.Mpps*1e6)
	j.Judge()
	j.Limited = t.Limited
	return j, nil
}
