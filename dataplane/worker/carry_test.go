package worker

import (
	"encoding/json"
	"testing"

	"baton/dataplane/flow"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// reread is c as another process gets it.
func reread(t *testing.T, c Carried) (got Carried) {
	t.Helper()
	text, err := json.Marshal(c)
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// carryLab has ports a, b and gone; a sent 10 frames to b, of which b lost 2 late, 5 to
// nobody, and gone sent one to b.
func carryLab(t *testing.T) *lab {
	l := newLab(t, nil)
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	b := l.addPort(2, newDouble(t, "b", port.KindVhost, 1))
	gone := l.addPort(3, newDouble(t, "gone", port.KindVhost, 1))
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2))}})
	for range 10 {
		a.queues[0].inject(frame(1, 2, 0))
	}
	for range 5 {
		a.queues[0].inject(frame(1, 9, 0))
	}
	gone.queues[0].inject(frame(1, 2, 0))
	l.quiet(a, gone)
	b.queues[0].lates.Store(2)
	if err := l.RemovePort("gone"); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestRestore: counters go on in another process, for ports that come before and after
// they are restored, that go again, and that never come.
func TestRestore(t *testing.T) {
	was := carryLab(t).Carried()
	if a, b := was.Ports["a"], was.Ports["b"]; len(was.Ports) != 2 || a.RxPackets != 15 || a.Drops["table_miss"] != 5 ||
		b.TxPackets != 9 || b.Drops["tx_full"] != 2 || was.Gone.RxPackets != 1 {
		t.Fatalf("%+v", was)
	}
	l := newLab(t, nil)
	a := l.addPort(1, newDouble(t, "a", port.KindVhost, 1))
	l.apply(flow.Change{SetRules: []flow.Rule{toPort(2, number(2))}})
	l.Restore(reread(t, was))
	want := func(what string, rx, tx, late uint64) {
		t.Helper()
		if tot := l.Totals(); tot.RxPackets != rx || tot.TxPackets != tx || tot.Drops[stats.DropTxFull] != late || tot.Held() != 0 {
			t.Errorf("%s: %+v, %d held; want %d received, %d sent, %d lost", what, tot, tot.Held(), rx, tx, late)
		}
	}
	want("restored", 16, 9, 2)
	if all := l.Ports(); len(all) != 1 || all[0].RxPackets != 15 || all[0].RxBytes != 15*64 || all[0].Drops[stats.DropTableMiss] != 5 {
		t.Errorf("%+v", all)
	}
	b := l.addPort(2, newDouble(t, "b", port.KindVhost, 1))
	a.queues[0].inject(frame(1, 2, 0), frame(1, 2, 0))
	l.quiet(a)
	b.queues[0].lates.Store(1)
	want("two more", 18, 10, 3)
	if s := l.stat("b"); s.TxPackets != 10 || s.TxBytes != 13*64 || s.Drops[stats.DropTxFull] != 3 {
		t.Errorf("%+v", s)
	}
	if err := l.RemovePort("b"); err != nil {
		t.Fatal(err)
	}
	want("b is gone", 18, 10, 3)
	l.addPort(2, newDouble(t, "b", port.KindVhost, 1))
	want("b is back", 18, 10, 3)
	if s := l.stat("b"); s.TxPackets != 0 {
		t.Errorf("a new port begins at %+v", s.Totals)
	}
	// The whole again, from here to a third process that has no ports at all.
	next := newLab(t, nil)
	next.Restore(reread(t, l.Carried()))
	if got, want := next.Totals(), l.Totals(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if c := next.Carried(); len(c.Ports) != 2 || c.Ports["a"].RxPackets != 17 {
		t.Errorf("%+v", c)
	}
	// A process that goes on after all adds what the other one counted.
	l.Restore(Carried{Ports: map[string]CarriedTotals{"a": {RxPackets: 3, Drops: map[string]uint64{"no_route": 3}}}})
	want("added to", 21, 10, 3)
}

// TestRestore_otherVersion: reasons of another version count, and so does what a process
// lost that others had counted as sent.
func TestRestore_otherVersion(t *testing.T) {
	var c Carried
	text := `{"ports":{"a":{"rx_packets":7,"drops":{"gremlins":4,"ghosts":2,"no_route":1},"moods":3},
		"b":{"tx_packets":18446744073709551611,"drops":{"tx_full":5}}},"weather":{}}`
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	l := newLab(t, nil)
	l.Restore(c)
	if tot := l.Totals(); tot.Drops[stats.DropOther] != 6 || tot.Drops[stats.DropNoRoute] != 1 || tot.Held() != 0 {
		t.Errorf("%+v, %d held", tot, tot.Held())
	}
	l.Restore(Carried{Ports: map[string]CarriedTotals{"b": {TxPackets: 8}}, Gone: CarriedTotals{RxPackets: 8}})
	if tot := l.Totals(); tot.TxPackets != 3 || tot.Held() != 0 {
		t.Errorf("%+v, %d held", tot, tot.Held())
	}
	if got := reread(t, l.Carried()); got.Ports["a"].Drops["other"] != 6 || got.Ports["b"].TxPackets != 3 {
		t.Errorf("%+v", got)
	}
}
