package scenario

import (
	"context"
	"errors"
	"time"

	"baton/bench/gen"
	"baton/bench/report"
	"baton/bench/suite"
)

var (
	Stream      = stream
	WriteReplay = writeReplay
	Numbered    = numbered
	Tunnelled   = tunnelled
	TunnelFrame = tunnelFrame
	PlainFrame  = plainFrame
	ErrForeign  = errForeign

	RulesVariant = rulesVariant
	RuleFlows    = ruleFlows
	PagesFor     = pagesFor
	TooFew       = tooFew
)

// Shoot starts baton for a stream from VM to VM and has it sent once.
func (b *Bench) Shoot(ctx context.Context, st gen.Stream, length time.Duration) (r *gen.Result, n suite.Counts, err error) {
	p := local(st.Flows.Num, report.Size(st.Size))
	rig, err := b.Rig(report.Baton, p)
	if err != nil {
		return nil, n, err
	}
	got, err := shots{b, rig}.shoot(ctx, st, length)
	return got.Result, got.system, errors.Join(err, rig.Close())
}

func (p *Plan) TestpmdMode() (string, bool)               { return p.testpmdMode() }
func (c *Pass) Judge(got [][]byte, n uint64) (int, error) { return c.judge(got, n) }
