package handover

import (
	"encoding/json"
	"fmt"
	"time"

	"baton/upgrade/wire"
)

// Steps of a standby's conversation, besides begin and abort.
const (
	stepPut   = "put"   // a port, or its new state
	stepDrop  = "drop"  // a port is gone
	stepRules = "rules" // all of them
	stepBeat  = "beat"  // a sign of life; a giver asks for one
)

// Keeper keeps a standby, a process that has all it needs to go on when this one dies:
//
//	keeper                                   standby
//	  | offer, answer                         |
//	  | sections to begin with; begin       > |
//	  | a port's state; put                 > |  whenever it changes
//	  | drop, rules; beat                   > |
//	  | abort                               > |  when the keeper ends as it should
//
// Each is answered. A standby that hears nothing for long, or sees the workers stand still, ends
// the keeper and takes over.
//
//	conc: one goroutine
type Keeper struct{ g Giver }

// NewKeeper speaks by c, whose offer was accepted.
func NewKeeper(c *wire.Conn) *Keeper { return &Keeper{Giver{Conn: c}} }

// ask sends sections and asks for a step.
func (k *Keeper) ask(s step, limit time.Duration, all ...wire.Section) (step, error) {
	if err := k.g.Conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return step{}, err
	}
	for _, sec := range all {
		if err := k.g.Conn.Send(sec); err != nil {
			return step{}, fmt.Errorf("standby: %w", because(err))
		}
	}
	answer, err := k.g.ask(s, limit)
	if err != nil {
		return step{}, fmt.Errorf("standby: %w", err)
	}
	return answer, nil
}

// do is ask for who needs no answer but that it is done.
func (k *Keeper) do(s step, limit time.Duration, all ...wire.Section) error {
	_, err := k.ask(s, limit, all...)
	return err
}

// Begin gives what the standby needs before any port.
//
//	out: what it tells of itself
func (k *Keeper) Begin(all ...wire.Section) (told json.RawMessage, err error) {
	answer, err := k.ask(step{Step: stepBegin}, beginLimit, all...)
	return answer.Told, err
}

// Put gives a port's state; its descriptors stay the keeper's.
func (k *Keeper) Put(name string, state wire.Section) error {
	return k.do(step{Step: stepPut, Port: name}, prepareLimit, state)
}

// Drop says that a port is gone.
func (k *Keeper) Drop(name string) error {
	return k.do(step{Step: stepDrop, Port: name}, keepLimit)
}

// Rules gives all rules.
func (k *Keeper) Rules(all wire.Section) error {
	return k.do(step{Step: stepRules}, prepareLimit, all)
}

// Beat says that there is nothing to say. It comes at least each BeatEvery.
func (k *Keeper) Beat() error { return k.do(step{Step: stepBeat}, keepLimit) }

// End says that this process ends as it should: the standby ends too.
func (k *Keeper) End() error { return k.do(step{Step: stepAbort}, keepLimit) }

// keepLimit is how long a standby may take for what costs nothing: it has no port, so that
// nobody waits for it.
const keepLimit = 5 * time.Second

// BeatEvery is how often a standby hears of its keeper.
const BeatEvery = 100 * time.Millisecond
