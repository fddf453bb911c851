package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"baton/upgrade/relay"
	"baton/upgrade/wire"
)

// Limits of what a taker may take its time for.
const (
	beginLimit   = 90 * time.Second // a DPDK device with its memory
	prepareLimit = 30 * time.Second // a VM's memory mapped
	commitLimit  = 15 * time.Second // what was counted, and the sessions
	// stepLimit and beatLimit are how long the ports that have moved may stand still when the
	// taker hangs.
	stepLimit   = 2 * time.Second
	beatLimit   = time.Second
	detachLimit = 2 * time.Second
)

// Port is one that is given away.
type Port struct {
	Name string
	Gate *relay.Gate // with the device
	// Detach stops the port's session at a message boundary and tells the port's state; rings
	// run on. The section's descriptors stay the giver's.
	Detach func(ctx context.Context) (wire.Section, error)
	// Reattach goes on with the session, after Detach.
	Reattach func() error
	// Running is the number of rings that run.
	Running func() int
}

// Giver gives ports to another process.
type Giver struct {
	Conn  *wire.Conn
	Area  *relay.Area
	Ports []Port // in the order in which they go
	// Begin is what the taker needs before any port, End what it gets when it has all;
	// it is told what became of the ports.
	Begin []wire.Section
	End   func(map[string]PortReport) ([]wire.Section, error)
	// Ready looks at what the taker tells of itself when it has come up, before any port is touched;
	// nil: nothing is to be looked at.
	Ready func(ctx context.Context, told json.RawMessage) error
	// Drained waits until the giver's own NIC has no more packets, after steer. Where the traffic
	// changes over bit by bit, it does so by rounds: what the NIC had is through, then pass lets go
	// on what had come to the taker by the last round's end.
	Drained func(ctx context.Context, pass func() error) error
	// Recall brings the wire's traffic back while the taker still takes it, and returns when none
	// comes there any more, or the taker does not answer. open lets go on all that waits at the taker,
	// leave has it give the traffic up.
	Recall func(pass, open, leave func() error)
	// Counted gets what the taker counted while it had ports, when all is taken back; nil: nobody
	// wants to know.
	Counted func(told json.RawMessage)
	// Unsteer brings the wire's traffic back, when the taker is gone.
	Unsteer func() error
	// Check says what is wrong with the relay, nil if nothing is; asked after each port.
	Check func() error
	// Kill ends the taker and returns when it is gone for certain; a polite one ends by itself.
	Kill func(polite bool)
	// DryRun ends with ErrDryRun where a port would move.
	DryRun bool
	// Canary is how many ports go first, and are looked at for CanaryTime before the others
	// follow. While it waits, the taker is asked again and again whether it is well.
	Canary     int
	CanaryTime time.Duration
	// Pause is the least time between two ports.
	Pause time.Duration
	// Progress is told of what happens; nil: nobody is.
	Progress func(Progress)

	detached []*Port // whose sessions stand still
	gone     []*Port // that the taker has
	steered  bool
	deaf     bool // the taker does not answer
	// What the taker's gates had seen when it had given all back; nil: it has not told.
	last map[string]PortReport
}

// Progress is what happens.
type Progress struct {
	Phase string // one of the phases
	Port  string // empty: of all
	Done  int    // ports of this phase
}

// Phases of a hand-over.
const (
	PhaseStart   = "start"
	PhasePrepare = "prepare"
	PhaseMove    = "move"
	PhaseCanary  = "canary"
	PhaseSteer   = "steer"
	PhaseCommit  = "commit"
	PhaseDone    = "done"
	PhaseRevert  = "roll back"
	PhaseFailed  = "rolled back"
)

// ErrDryRun is the error of a dry run in whose way nothing is.
var ErrDryRun = errors.New("a dry run: nothing was moved")

func (g *Giver) tell(phase, port string, done int) {
	if g.Progress != nil {
		g.Progress(Progress{phase, port, done})
	}
}

// Run hands all over. The offer was accepted.
//
//	out: what became of the ports, by name; with an error too
//	error: why not; then all is as it was, and the taker is gone. An error of taking it back
//	is joined
func (g *Giver) Run(ctx context.Context) (map[string]PortReport, error) {
	report, err := g.run(ctx)
	if err == nil {
		g.tell(PhaseDone, "", len(g.Ports))
		return report, nil
	}
	g.tell(PhaseRevert, "", 0)
	err = errors.Join(err, g.revert())
	g.tell(PhaseFailed, "", 0)
	return g.kept(), err
}

func (g *Giver) run(ctx context.Context) (map[string]PortReport, error) {
	if err := g.begin(ctx); err != nil {
		return nil, err
	}
	if g.DryRun {
		return nil, ErrDryRun
	}
	for i := range g.Ports {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := g.prepare(ctx, &g.Ports[i]); err != nil {
			return nil, fmt.Errorf("port %s: not prepared: %w", g.Ports[i].Name, err)
		}
		g.tell(PhasePrepare, g.Ports[i].Name, i+1)
	}
	for i := range g.Ports {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		begun := time.Now()
		if err := errors.Join(g.move(&g.Ports[i]), g.Check()); err != nil {
			return nil, fmt.Errorf("port %s: not moved: %w", g.Ports[i].Name, err)
		}
		g.tell(PhaseMove, g.Ports[i].Name, i+1)
		wait := g.Pause - time.Since(begun)
		if i+1 == len(g.Ports) {
			wait = 0 // for none
		}
		if i+1 == g.Canary {
			g.tell(PhaseCanary, "", i+1)
			wait = max(wait, g.CanaryTime)
		}
		if err := g.watch(ctx, wait); err != nil {
			return nil, fmt.Errorf("after port %s: %w", g.Ports[i].Name, err)
		}
	}
	return g.commit(ctx)
}

// ask sends a request and waits for its answer.
//
//	error: the taker's, or the connection's
func (g *Giver) ask(s step, limit time.Duration) (step, error) {
	err := g.Conn.SetDeadline(time.Now().Add(limit))
	if err == nil {
		err = send(g.Conn, s)
	}
	if err != nil {
		g.deaf = true
		return step{}, fmt.Errorf("the new process cannot be told to %s: %w", s.Step, because(err))
	}
	return g.answer(s.Step)
}

// What errors of the connection mean, for people: what the socket says is only how that is known.
var (
	errDied  = errors.New("it has died: the log has its last lines")
	errHangs = errors.New("it hangs, and is ended")
)

// because is what an error of the connection means.
func because(err error) error {
	switch {
	case closed(err):
		return errDied
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errHangs
	}
	return err
}

// answer waits for the answer to a request.
func (g *Giver) answer(want string) (step, error) {
	sec, err := g.Conn.Receive()
	if err != nil {
		g.deaf = true
		return step{}, fmt.Errorf("the new process gives no answer to %q: %w", want, because(err))
	}
	defer sec.Close()
	s, ok, err := parse(&sec)
	switch {
	case err != nil:
		g.deaf = true
		return step{}, err
	case !ok || s.Step != want:
		g.deaf = true
		return step{}, fmt.Errorf("handover: %w: %v where the answer to %q was due", wire.ErrFormat, sec.Tag, want)
	case s.Error != "":
		return s, errors.New(s.Error)
	}
	return s, nil
}

func (g *Giver) begin(ctx context.Context) error {
	g.tell(PhaseStart, "", 0)
	// It has no port yet, and may take long: it is not asked to end.
	stop := context.AfterFunc(ctx, func() { g.Kill(false) })
	defer stop()
	told, err := g.agree()
	if err == nil && g.Ready != nil {
		err = g.Ready(ctx, told)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// agree has the taker make its gates.
//
//	out: what it tells of itself
func (g *Giver) agree() (json.RawMessage, error) {
	if err := g.Conn.SetDeadline(time.Now().Add(beginLimit)); err != nil {
		return nil, err
	}
	for _, sec := range g.Begin {
		if err := g.Conn.Send(sec); err != nil {
			g.deaf = true
			return nil, fmt.Errorf("the new process does not start: %w", because(err))
		}
	}
	lanes := map[string][]int{}
	for _, p := range g.Ports {
		l, err := p.Gate.Lanes()
		if err != nil {
			return nil, err
		}
		lanes[p.Name] = l
	}
	s, err := g.ask(step{Step: stepBegin, Lanes: lanes}, beginLimit)
	if err != nil {
		return nil, fmt.Errorf("the new process does not start: %w", err)
	}
	for _, p := range g.Ports {
		if err := p.Gate.SetLanes(s.Lanes[p.Name]); err != nil {
			return nil, err
		}
	}
	return s.Told, nil
}

func (g *Giver) prepare(ctx context.Context, p *Port) error {
	ctx, cancel := context.WithTimeout(ctx, detachLimit)
	defer cancel()
	sec, err := p.Detach(ctx)
	if err != nil {
		return err
	}
	g.detached = append(g.detached, p)
	if err := g.Conn.SetDeadline(time.Now().Add(prepareLimit)); err != nil {
		return err
	}
	if err := g.Conn.Send(sec); err != nil {
		g.deaf = true
		return fmt.Errorf("the new process does not take its state: %w", because(err))
	}
	_, err = g.ask(step{Step: stepPrepare, Port: p.Name, Enabled: p.Gate.Enabled(), Running: p.Running()}, prepareLimit)
	return err
}

// move passes one port's baton.
func (g *Giver) move(p *Port) error {
	if _, err := g.ask(step{Step: stepHold, Port: p.Name, Limit: stepLimit}, stepLimit); err != nil {
		return err
	}
	if err := p.Gate.Give(); err != nil {
		return err
	}
	g.gone = append(g.gone, p)
	_, err := g.answer(stepTake)
	return err
}

func (g *Giver) commit(ctx context.Context) (map[string]PortReport, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	g.tell(PhaseSteer, "", 0)
	g.steered = true
	if _, err := g.ask(step{Step: stepSteer}, stepLimit); err != nil {
		return nil, fmt.Errorf("the wire's traffic does not go to the new process: %w", err)
	}
	if err := g.Drained(ctx, g.pass); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	if err := g.Area.Drained(relay.First, stepLimit); err != nil {
		return nil, err
	}
	s, err := g.ask(step{Step: stepOpen}, stepLimit)
	if err != nil {
		return nil, err
	}
	for _, p := range g.Ports {
		r, c := s.Ports[p.Name], p.Gate.Counts()
		r.Add(c)
		s.Ports[p.Name] = r
	}
	g.tell(PhaseCommit, "", 0) // who calls it off from now on is told that it is too late
	if ctx.Err() != nil {
		return s.Ports, context.Cause(ctx)
	}
	return s.Ports, g.finish(s.Ports)
}

// pass has the taker let go on what had come to it by the last one, open all.
func (g *Giver) pass() error { return g.done(stepPass) }
func (g *Giver) open() error { return g.done(stepOpen) }

// leave has the taker give the wire's traffic up.
func (g *Giver) leave() error { return g.done(stepLeave) }

func (g *Giver) done(name string) error {
	_, err := g.ask(step{Step: name}, stepLimit)
	return err
}

// finish makes all the taker's own.
func (g *Giver) finish(report map[string]PortReport) error {
	end, err := g.End(report)
	if err != nil {
		return err
	}
	if err := g.Conn.SetDeadline(time.Now().Add(commitLimit)); err != nil {
		return err
	}
	for _, sec := range end {
		if err := g.Conn.Send(sec); err != nil {
			g.deaf = true
			return fmt.Errorf("the new process does not take the counters: %w", because(err))
		}
	}
	_, err = g.ask(step{Step: stepCommit}, commitLimit)
	return err
}
