package dut

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// Stages of a packet's way through baton, in its order (dataplane/worker). The first is all
// that the others are not: receiving, and the loop around it.
const (
	StageReceive = "receive"
	StageEnter   = "enter, decap"
	StageParse   = "parse"
	StageLookup  = "look up"
	StagePush    = "encap"
	StageSend    = "send"
)

// Stages are their names.
var Stages = []string{StageReceive, StageEnter, StageParse, StageLookup, StagePush, StageSend}

// loopPrefix is what all functions of a worker's loop are called.
const loopPrefix = "baton/dataplane/worker.(*Worker)."

// stageOf is the stage that a function of the loop is, "" for what is part of several.
var stageOf = map[string]string{
	"enter": StageEnter, "parse": StageParse, "decide": StageLookup, "push": StagePush, "forward": StageSend, "send": StageSend, "drain": StageSend,
	"receive": StageReceive, "iterate": StageReceive, "loop": StageReceive, "run": StageReceive,
}

// ErrNoWorker is the error of Shares of a profile that has seen no worker.
var ErrNoWorker = errors.New("CPU profile: no worker")

// Shares is what part of the workers' time each stage took, by a CPU profile, and how many
// samples say so.
//
//	error: not a CPU profile; ErrNoWorker
func Shares(r io.Reader) (shares map[string]float64, samples int64, err error) {
	p, err := profile.Parse(r)
	if err != nil {
		return nil, 0, fmt.Errorf("CPU profile: %w", err)
	}
	counts := map[string]int64{}
	for _, s := range p.Sample {
		if stage := stageOfSample(s); stage != "" {
			counts[stage] += s.Value[0]
			samples += s.Value[0]
		}
	}
	if samples == 0 {
		return nil, 0, fmt.Errorf("%w in its %d stacks", ErrNoWorker, len(p.Sample))
	}
	shares = map[string]float64{}
	for stage, n := range counts {
		shares[stage] = float64(n) / float64(samples)
	}
	return shares, samples, nil
}

// stageOfSample is the stage of the innermost function that is one; "" outside a worker.
func stageOfSample(s *profile.Sample) string {
	for _, l := range s.Location {
		for _, line := range l.Line {
			if line.Function == nil {
				continue
			}
			name, ok := strings.CutPrefix(line.Function.Name, loopPrefix)
			if !ok {
				continue
			}
			if stage := stageOf[name]; stage != "" {
				return stage
			}
		}
	}
	return ""
}

// Cycles is what each stage of a packet costs, of a worker whose busy polls take so many
// cycles a packet and are part of its time. Polls that found nothing are taken from the
// first stage.
func Cycles(shares map[string]float64, cycles, busy float64) []float64 {
	all := make([]float64, len(Stages))
	rest := cycles
	for i, stage := range Stages {
		if stage != StageReceive {
			all[i] = min(rest, shares[stage]*cycles/busy)
			rest -= all[i]
		}
	}
	all[slices.Index(Stages, StageReceive)] = rest
	return all
}
