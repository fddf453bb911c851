package cache

import (
	"math/bits"

	"baton/dataplane/pipeline"
	"baton/dataplane/table"
)

// tally adds up packets of rules before the rules, whose counters all workers share, are
// told: the rules that nearly all entries have in common are many entries' in a row.
type tally struct {
	slots [tallySlots]tallied
	owed  [tallySlots / 64]uint64 // set of the slots with packets
	hand  uint                    // word of owed where settle goes on
}

// tallySlots is how many rules it adds up for; those of a host that all packets meet
// are fewer.
const tallySlots = 512

// tallied is a rule's packets.
type tallied struct {
	rule           table.Ref
	packets, bytes uint64
}

// add adds packets of a rule. It tells the rule that had the place, if any.
func (t *tally) add(rule table.Ref, c *pipeline.Counters, packets, bytes uint64) {
	at := rule.Slot % tallySlots
	s := &t.slots[at]
	if s.rule != rule {
		if s.packets != 0 {
			c.Add(s.rule, s.packets, s.bytes)
		}
		*s = tallied{rule: rule}
	}
	s.packets += packets
	s.bytes += bytes
	t.owed[at/64] |= 1 << (at % 64)
}

// settle tells rules what is owed to them, at least num of them, if there are so many.
func (t *tally) settle(num int, c *pipeline.Counters) {
	for range t.owed {
		w := &t.owed[t.hand%uint(len(t.owed))]
		for ; *w != 0; *w &= *w - 1 {
			s := &t.slots[t.hand%uint(len(t.owed))*64+uint(bits.TrailingZeros64(*w))]
			c.Add(s.rule, s.packets, s.bytes)
			s.packets, s.bytes = 0, 0
			num--
		}
		t.hand++
		if num <= 0 {
			return
		}
	}
}
