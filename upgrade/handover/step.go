package handover

import (
	"encoding/json"
	"fmt"
	"time"

	"baton/upgrade/wire"
)

// Kind and version of the sections that steps are sent in. All kinds from 0xf000 on are this
// package's and wire's.
const (
	kindStep    wire.Kind = 0xf001
	stepVersion uint16    = 1
)

// StepTag belongs to each offer, and with StepKnown to what a taker knows.
var StepTag = wire.Tag{Kind: kindStep, Version: stepVersion, Mandatory: true}

// StepKnown adds what a taker must know of steps.
func StepKnown(known map[wire.Kind]wire.Known) map[wire.Kind]wire.Known {
	known[kindStep] = wire.Known{Min: stepVersion, Max: stepVersion}
	return known
}

// The steps.
const (
	stepBegin   = "begin"
	stepPrepare = "prepare"
	stepHold    = "hold"
	stepTake    = "take" // the second answer to hold
	stepGive    = "give" // back
	stepSteer   = "steer"
	stepPass    = "pass"
	stepOpen    = "open"
	stepLeave   = "leave" // what steer brought
	stepCommit  = "commit"
	stepAbort   = "abort"
)

// step is a request, or the answer to it.
type step struct {
	Step  string `json:"step"`
	Port  string `json:"port,omitempty"`
	Error string `json:"error,omitempty"` // of an answer: why it was not done

	// Of begin: the giver's lanes by port; of its answer: the taker's.
	Lanes map[string][]int `json:"lanes,omitempty"`
	// Of the answers to begin and abort: what the taker tells the giver.
	Told json.RawMessage `json:"told,omitempty"`
	// Of prepare: which queues take packets, and how many rings run; of take: how many run now.
	Enabled uint64 `json:"enabled,omitempty"`
	Running int    `json:"running,omitempty"`
	// Of the answers to open and abort: what the taker's gates have seen.
	Ports map[string]PortReport `json:"ports,omitempty"`
	// Of hold: no port is to be taken before the giver has come so far.
	Limit time.Duration `json:"limit,omitempty"`
}

func send(c *wire.Conn, s step) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("handover: %w", err)
	}
	return c.Send(wire.Section{Tag: StepTag, Payload: b})
}

// parse is the step in a section; ok is false for a section of another kind.
//
//	error: a step that is none
func parse(sec *wire.Section) (s step, ok bool, err error) {
	if sec.Kind != kindStep {
		return s, false, nil
	}
	if err := json.Unmarshal(sec.Payload, &s); err != nil {
		return s, true, fmt.Errorf("handover: %w: %w", wire.ErrFormat, err)
	}
	return s, true, nil
}
