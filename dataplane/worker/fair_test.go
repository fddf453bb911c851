package worker

import (
	"encoding/binary"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// scanner is a guest that sends each frame to another MAC.
type scanner struct {
	endless
	next uint32
}

func (p *scanner) Queue(int) port.Queue { return p }

func (p *scanner) Rx(c *buf.Cache, v *buf.Vec) int {
	n := p.endless.Rx(c, v)
	for i := range n {
		p.next++
		binary.BigEndian.PutUint32(v[i].Data()[2:], 1<<31|p.next)
	}
	return n
}

// scanRules send packets to a known address from table to table to the port sink, and
// drop others in the last one.
func scanRules() flow.Change {
	known := flow.MAC{2, 0, 0, 0, 0, 1} // as frame has it
	tables := []flow.TableID{
		pipeline.TableConvertPhyLogical, pipeline.TableLSPTraceIngressIn, pipeline.TableLSPIngressARPController,
		pipeline.TableLSPIngressARPResponse, pipeline.TableLSPIngressLookupDstPort,
	}
	last := tables[len(tables)-1]
	c := flow.Change{SetBindings: []flow.Binding{{Name: "scan", Number: number(1)}, {Name: "good", Number: number(2)}, {Name: "sink", Number: number(3)}}}
	for i, at := range tables[:len(tables)-1] {
		c.SetRules = append(c.SetRules, flow.Rule{RuleID: flow.RuleID{Table: at}, Actions: []flow.Action{flow.Goto(tables[i+1])}})
	}
	c.SetRules = append(c.SetRules,
		flow.Rule{RuleID: flow.RuleID{Table: last, Priority: 1, Match: flow.Match{}.WithMAC(flow.FieldEthDst, known)}, Actions: []flow.Action{flow.Output(number(3))}},
		flow.Rule{RuleID: flow.RuleID{Table: last}, Actions: []flow.Action{flow.Drop(stats.DropUnknownMAC)}})
	return c
}

// TestScanIsFair: a guest whose every packet needs a walk of the pipeline gets no
// more of the worker's time than one whose flows are known.
func TestScanIsFair(t *testing.T) {
	scan := &scanner{endless: endless{name: "scan", kind: port.KindVhost, frames: [][]byte{frame(1, 2, 3)}}}
	good := &endless{name: "good", kind: port.KindVhost, frames: [][]byte{frame(1, 2, 3)}}
	sink := &endless{name: "sink", kind: port.KindVhost}
	w := still(t, nil, []port.Port{scan, good, sink}, scanRules())

	const turns = 1000
	for range turns {
		w.turn()
	}
	if sink.got != turns*buf.Burst {
		t.Errorf("%d packets of known flows in %d turns, want a burst each", sink.got, turns)
	}
	// 32 walks that look into one table and pass four are 32×(1+5) steps, 3 turns.
	polls := uint64(scan.next) / buf.Burst
	if polls > turns/4 || polls < turns/5 {
		t.Errorf("the scanner had %d turns of %d, want one in 4", polls, turns)
	}
	if walks := w.flows.Counters.Misses.Load(); walks < uint64(scan.next) {
		t.Errorf("%d walks for %d addresses", walks, scan.next)
	}
}

// TestScanAlone: without anybody to wait for, the scanner misses a turn only to find out.
func TestScanAlone(t *testing.T) {
	scan := &scanner{endless: endless{name: "scan", kind: port.KindVhost, frames: [][]byte{frame(1, 2, 3)}}}
	w := still(t, nil, []port.Port{scan}, scanRules())
	const turns = 1000
	for range turns {
		w.turn()
	}
	if polls := uint64(scan.next) / buf.Burst; polls != turns/2 {
		t.Errorf("the scanner had %d turns of %d, want every other one", polls, turns)
	}
}

// settling is a queue that counts the turns that it missed.
type settling struct {
	*endless
	missed int
}

func (p *settling) Queue(int) port.Queue { return p }
func (p *settling) Settle()              { p.missed++ }

// A queue that misses its turn is told each time: a guest may wait for what its last
// burst left to do.
func TestMissedTurnSettles(t *testing.T) {
	vm := &settling{endless: &endless{name: "vm", kind: port.KindVhost}}
	w := still(t, tunnelEnd(t, 1), []port.Port{vm}, tunnelChange(1))
	w.turn()
	if len(w.rxqs) != 1 || vm.missed != 0 {
		t.Fatalf("%d queues, %d turns missed", len(w.rxqs), vm.missed)
	}
	w.alone, w.rxqs[0].debt = false, 3*turnSteps
	for i := range 5 {
		w.alone = false
		w.turn()
		if want := min(i+1, 3); vm.missed != want {
			t.Fatalf("turn %d: told %d times, want %d", i, vm.missed, want)
		}
	}
}
