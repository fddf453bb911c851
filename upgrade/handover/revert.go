package handover

import (
	"errors"
	"fmt"
)

// revert takes everything back.
func (g *Giver) revert() error {
	var errs []error
	if g.steered && !g.deaf {
		g.Recall(g.pass, g.open, g.leave)
	}
	polite := !g.deaf
	for i := len(g.gone) - 1; i >= 0 && polite; i-- {
		polite = g.takeBack(g.gone[i]) == nil
	}
	if polite {
		// It ends by itself; Kill waits for that.
		s, err := g.ask(step{Step: stepAbort}, stepLimit)
		polite = err == nil
		g.last = s.Ports
		if polite && g.Counted != nil && len(g.gone) > 0 {
			g.Counted(s.Told)
		}
	}
	g.Kill(polite)
	for i := range g.Ports {
		p := &g.Ports[i]
		if _, err := p.Gate.Seize(); err != nil {
			errs = append(errs, err)
		}
	}
	if g.steered {
		errs = append(errs, g.Unsteer())
	}
	for _, p := range g.detached {
		if err := p.Reattach(); err != nil {
			errs = append(errs, fmt.Errorf("port %s: its session does not go on: %w", p.Name, err))
		}
	}
	return errors.Join(errs...)
}

// takeBack gets one port back from a taker that answers.
func (g *Giver) takeBack(p *Port) error {
	if err := p.Gate.Hold(stepLimit); err != nil {
		return err
	}
	if _, err := g.ask(step{Step: stepGive, Port: p.Name}, stepLimit); err != nil {
		return err
	}
	return p.Gate.Take(stepLimit)
}
